r"""How well images of no class are told: AUROC on real images, by several detectors.

    python benchmarks/novelty.py --run runs/small --out docs/measured/novelty.json
    python benchmarks/novelty.py --run runs/small --with-unlabeled
    python benchmarks/novelty.py --source ../shared/data/nette96 --with-unlabeled

Two classes are held out of the labels of a fold. What is to be told apart are the training images
without a label: those of the other classes against all those of the two. Test images have no part.
With `--with-unlabeled` the set's own unlabelled images are learned from too, and nobody knows which
of them are of the classes; but how many are, by what the set says (6,418 of 20,000 of nette96), so
that the AUROC of all of them against the known ones tells that of the ones outside.

Without `--run` it is the detector as `consistency` and `suggest` have it beside networks, which
learns filters of its own.

`--run` is a fit that learned no labels (kmeans-*, surrogate), such as
    fewlabels fit ../shared/data/nette96 --size 48 --fold 0 --set filters.n_filters=400 \
        --set filters.n_images=3000 --out runs/small
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import fewlabels
from fewlabels import heads, novelty, runs
from fewlabels.heads import HeadConfig
from fewlabels.images import Images
from fewlabels.model import Model
from fewlabels.model_views import view
from fewlabels.run_images import images_for
from fewlabels.ways.usable import scores_by_new_filters

N_FOLDS = 5
SHARE_INSIDE = 6418 / 20_000  # of nette96's unlabelled images are of its ten classes
HEAD = HeadConfig(kind="kernel", strengths=(0.03, 0.1), widths=(0.5,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--source", help="of the images, if no run remembers it")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of classes held out in turn")
    parser.add_argument("--with-unlabeled", action="store_true")
    parser.add_argument("--cache", type=Path, help="keeps what the run's model sees of the images")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    if arguments.run is None and arguments.source is None:
        parser.error("give the --run whose features tell, or the --source of images alone")
    wanted = ("train", "unlabeled")
    if arguments.run is None:
        image_set, name = fewlabels.read(arguments.source, parts=wanted), arguments.source
        described = {"recipe": "new filters", "image_size": image_set.train.size}
    else:
        model = Model.load(arguments.run)
        if model.recipe.labels is not None:
            parser.error("a run that learned from labels has seen the classes that are held out")
        command = "benchmarks/novelty.py"
        image_set, name = images_for(model, arguments.run, arguments.source, command, wanted)
        described = {"recipe": model.recipe.as_dict(), "image_size": model.image_size}
    parts = {"train": image_set.train}
    if arguments.with_unlabeled:
        parts["unlabeled"] = image_set.unlabeled
    if arguments.run is None:
        seen = parts
    else:
        seen = {part: sketches(model, part, one, arguments.cache) for part, one in parts.items()}
    labels_N, fold = image_set.train.labels, image_set.folds[arguments.fold]
    rows = []
    for first in range(0, 2 * arguments.pairs, 2):
        held = [first % 10, (first + 1) % 10]
        rows.append(measured(seen, labels_N, fold, held))
        print(json.dumps(rows[-1]), flush=True)
    names = [key for key in rows[0] if key != "held_out"]
    told = {
        "images": Path(name).name,
        "fold": arguments.fold,
        "with_unlabeled": arguments.with_unlabeled,
        **described,
        "commit": runs.commit(),
        "pairs": rows,
        "mean": {key: round(float(np.mean([row[key] for row in rows])), 4) for key in names},
    }
    print(json.dumps(told["mean"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")


def sketches(model: Model, part: str, images, cache: Path | None) -> np.ndarray:
    path = None if cache is None else cache / f"{part}.npy"
    if path is not None and path.exists():
        return np.load(path)
    found = view(model, images, seed=0, what=f"features ({part})").sketches_NK
    if path is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return found


def measured(seen: dict, labels_N: np.ndarray, fold: np.ndarray, held: list[int]) -> dict:
    """AUROC of each detector, with these classes held out.

    seen : of each part its sketches, or the images themselves for a detector that looks at these
    """
    is_held_N = np.isin(labels_N, held)
    labelled = fold[~is_held_N[fold]]
    others = np.setdiff1d(np.arange(len(labels_N)), labelled)
    labels, inside, n_known = labels_N[labelled], ~is_held_N[others], len(others)
    row: dict = {"held_out": held}
    if isinstance(seen["train"], Images):
        found = {"novelty": with_new_filters(seen, labelled, others)}
    else:
        labelled_NK, unlabelled_MK = seen["train"][labelled], seen["train"][others]
        if "unlabeled" in seen:
            unlabelled_MK = np.concatenate([unlabelled_MK, seen["unlabeled"]])
        found = {
            name: detector(labelled_NK, labels, unlabelled_MK)
            for name, detector in DETECTORS.items()
        }
    for name, scores_M in found.items():
        row[name] = round(float(roc_auc_score(inside, scores_M[:n_known])), 4)
        if "unlabeled" in seen:
            of_classes = scores_M[:n_known][inside]
            both = np.concatenate([of_classes, scores_M[n_known:]])
            mixed = roc_auc_score(np.arange(len(both)) < len(of_classes), both)
            # an image of the classes is as likely above another one as below it
            share = SHARE_INSIDE * (10 - len(held)) / 10
            row[f"{name}, own unlabelled"] = round(float((mixed - share / 2) / (1 - share)), 4)
    return row


def with_new_filters(seen: dict, labelled: np.ndarray, others: np.ndarray) -> np.ndarray:
    """`usable.scores_by_new_filters`, from the images."""
    pixels = [seen["train"].pixels[others]]
    if "unlabeled" in seen:
        pixels.append(seen["unlabeled"].pixels)
    unlabelled = Images(pixels=np.concatenate(pixels))
    scores_M = scores_by_new_filters(seen["train"].take(labelled), unlabelled, seed=0, device="cpu")
    assert scores_M is not None, "there are enough images"
    return scores_M


def confidence(labelled_NK, labels_N, unlabelled_MK) -> np.ndarray:
    """The largest calibrated probability of a kernel head."""
    classes, numbers = np.unique(labels_N, return_inverse=True)
    features_NK, numbers_N = torch.from_numpy(labelled_NK), torch.from_numpy(numbers)
    head = heads.fit(features_NK, numbers_N, len(classes), HEAD, seed=0)
    return head.probabilities(torch.from_numpy(unlabelled_MK)).amax(1).numpy()


def nearest(labelled_NK, labels_N, unlabelled_MK) -> np.ndarray:
    """Less the mean distance to the five nearest labelled images, on the principal axes."""
    labelled_NA, unlabelled_MA = axes(labelled_NK, unlabelled_MK)
    return -NearestNeighbors(n_neighbors=5).fit(labelled_NA).kneighbors(unlabelled_MA)[0].mean(1)


def linear(labelled_NK, labels_N, unlabelled_MK) -> np.ndarray:
    """Cross-fitted logistic regression, labelled against unlabelled (Elkan and Noto)."""
    labelled_NA, unlabelled_MA = axes(labelled_NK, unlabelled_MK)
    fold_M = np.random.default_rng(0).permutation(len(unlabelled_MA)) % N_FOLDS
    found = np.empty(len(unlabelled_MA))
    for one in range(N_FOLDS):
        others_MA = unlabelled_MA[fold_M != one]
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=500)
        target = np.arange(len(labelled_NA) + len(others_MA)) < len(labelled_NA)
        model.fit(np.concatenate([labelled_NA, others_MA]), target)
        found[fold_M == one] = model.decision_function(unlabelled_MA[fold_M == one])
    return found


def kernel(labelled_NK, labels_N, unlabelled_MK) -> np.ndarray:
    """`fewlabels.novelty`."""
    return novelty.scores(labelled_NK, labels_N, unlabelled_MK, seed=0)


def kernel_alone(labelled_NK, labels_N, unlabelled_MK) -> np.ndarray:
    """The same without the answers of the machine that tells the classes apart."""
    return novelty.scores(labelled_NK, np.zeros_like(labels_N), unlabelled_MK, seed=0)


def axes(labelled_NK: np.ndarray, unlabelled_MK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labelled_NK, unlabelled_MK, some = novelty._standardised(labelled_NK, unlabelled_MK, draw)
    return novelty._on_axes(labelled_NK, unlabelled_MK, some)


DETECTORS = {
    "confidence": confidence,
    "nearest": nearest,
    "linear": linear,
    "kernel": kernel_alone,
    "novelty": kernel,
}


if __name__ == "__main__":
    main()
