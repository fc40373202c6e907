"""What other libraries reach on the same labels and images, in the same minutes, on the same cores.

    python benchmarks/peers.py cifar10 pipeline --minutes 30 --out cifar10-peer-pipeline.json
    python benchmarks/peers.py cifar10 self-training --minutes 30 --out ...
    python benchmarks/peers.py cifar10 simclr --minutes 30 --out ...
    python benchmarks/peers.py nette96 pipeline --minutes 60 --out nette96-peer-pipeline.json

`pipeline`: patches with normalised contrast, whitened (PCA), MiniBatchKMeans, the triangle
activation of Coates, Ng and Lee 2011 summed over quadrants, StandardScaler and LogisticRegression,
all of scikit-learn, the penalty chosen by 3-fold cross-validation. As many filters as the minutes
allow: it is done with 100, then 200, 400, ... 3,200, and ends where the next would take too long by
what the last took; the last is the result.

`self-training`: scikit-learn's SelfTrainingClassifier with that logistic regression on the same
features of labelled and unlabelled images, as many filters and unlabelled images as fit, in the
same manner.

`simclr`: LightlySSL's SimCLR on a ResNet-18 with a stem for small images, trained on all images
without labels for the minutes, less a tenth for a linear probe on the labelled ones. It needs
lightly and torchvision. A torchvision fits one torch alone: where that is not the torch of
fewlabels, run it in an environment of its own that has all of them.

The images are those of training.py; of nette96 fold 0 alone, unless `--fold` says another. They are
read before the clock starts. `--slice N` takes so many images of each part, to see that it works.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

import fewlabels
from fewlabels import precision, splits
from kmeans import PROTOCOLS, REPOSITORY, processor

PATCH = {"cifar10": 6, "nette96": 10}  # side in pixels
STRIDE = {"cifar10": 1, "nette96": 4}
N_PATCHES, PER_IMAGE = 100_000, 10
FILTERS = (100, 200, 400, 800, 1600, 3200)
UNLABELLED = (2000, 4000, 8000, 16_000, 16_000, 16_000)
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # values of C: a smaller one is a stronger penalty
GROWTH = 2.5  # of the time from one number of filters to the next, at most
CHUNK = 50  # images encoded together


@dataclass
class Data:
    """uint8 images of shape (n, 3, height, width) and labels."""

    labelled: np.ndarray
    labels: np.ndarray
    unlabelled: np.ndarray
    test: np.ndarray
    truth: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", choices=PROTOCOLS)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--fold", type=int, default=0, help="of nette96")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slice", type=int, help="images of each part, to see that it works")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    asked = parser.parse_args()
    data = read(asked)
    began = time.perf_counter()
    found = PEERS[asked.peer](data, asked, began)
    result = {
        "images": asked.images,
        "peer": asked.peer,
        "minutes": asked.minutes,
        "seed": asked.seed,
        "slice": asked.slice,
        "n_labelled": len(data.labelled),
        "n_unlabelled": len(data.unlabelled),
        "n_test": len(data.test),
        "seconds": round(time.perf_counter() - began, 1),
        "machine": f"{os.cpu_count()} cores, {processor()}",
        **found,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


def read(asked: argparse.Namespace) -> Data:
    folder = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    images = fewlabels.read(str(folder / asked.images))
    name = PROTOCOLS[asked.images][2]
    folds = (asked.fold,) if asked.images == "nette96" else None
    plan = splits.plan(images, protocol=name, folds=folds, seed=asked.seed)
    (fold,) = plan.folds
    others = splits.unlabelled(images, splits.pool(images), fold)
    draw = np.random.default_rng(asked.seed)
    fold, rest, test = (
        some[: asked.slice] if asked.slice else np.sort(some)
        for some in map(draw.permutation, (fold, len(others), len(images.test)))
    )
    return Data(
        labelled=images.train.pixels[fold],
        labels=images.train.labels[fold],
        unlabelled=others.pixels[rest],
        test=images.test.pixels[test],
        truth=images.test.labels[test],
    )


# --- features of k-means


class Filters:
    """Patches -> whitening -> MiniBatchKMeans -> the triangle activation, summed over quadrants."""

    def __init__(self, data: Data, n_filters: int, asked: argparse.Namespace) -> None:
        self.side, self.stride = PATCH[asked.images], STRIDE[asked.images]
        draw = np.random.default_rng(asked.seed)
        images = np.concatenate([data.labelled, data.unlabelled])
        n_images = min(len(images), N_PATCHES // PER_IMAGE)
        chosen = images[draw.permutation(len(images))[:n_images]]
        cut = [draw.permutation(one)[:PER_IMAGE] for one in self.patches(chosen)]
        patches = np.concatenate(cut)
        self.whitening = PCA(n_components=0.99, whiten=True, random_state=asked.seed).fit(patches)
        self.kmeans = MiniBatchKMeans(
            min(n_filters, len(patches)), batch_size=4096, n_init=1, random_state=asked.seed
        ).fit(self.whitening.transform(patches))

    def patches(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """All of each image, with brightness and contrast taken out: (n_places, n_values)."""
        for image in images:
            places = np.lib.stride_tricks.sliding_window_view(
                image, (self.side, self.side), axis=(1, 2)
            )[:, :: self.stride, :: self.stride]
            found = places.transpose(1, 2, 0, 3, 4).reshape(-1, 3 * self.side**2)
            found = found.astype(np.float32)
            centred = found - found.mean(1, keepdims=True)
            yield centred / np.sqrt(centred.var(1, keepdims=True) + 10)

    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 (n_images, 4 * n_filters)."""
        rows = []
        for start in range(0, len(images), CHUNK):
            cut = list(self.patches(images[start : start + CHUNK]))
            side = round(len(cut[0]) ** 0.5)
            away = self.kmeans.transform(self.whitening.transform(np.concatenate(cut)))
            nearer = np.maximum(0, away.mean(1, keepdims=True) - away)
            maps = nearer.reshape(len(cut), side, side, -1)
            half = side // 2
            parts = [
                maps[:, rows_, columns].sum((1, 2))
                for rows_ in (slice(half), slice(half, None))
                for columns in (slice(half), slice(half, None))
            ]
            rows.append(np.concatenate(parts, 1).astype(np.float32))
        return np.concatenate(rows)


def logistic(asked: argparse.Namespace, features: np.ndarray, labels: np.ndarray):
    """Not fitted yet, with the penalty that has the highest accuracy on labels held out in turn."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    penalties = {"logisticregression__C": PENALTIES}
    folds = StratifiedKFold(3, shuffle=True, random_state=asked.seed)
    found = GridSearchCV(model, penalties, cv=folds, refit=False).fit(features, labels)
    return model.set_params(**found.best_params_)


def pipeline(data: Data, asked: argparse.Namespace, began: float) -> dict:
    def attempt(place: int) -> dict:
        filters = Filters(data, FILTERS[place], asked)
        features = filters.features(data.labelled)
        model = logistic(asked, features, data.labels).fit(features, data.labels)
        answers = model.predict(filters.features(data.test))
        return {
            "n_filters": FILTERS[place],
            "C": model.get_params()["logisticregression__C"],
            "accuracy": float((answers == data.truth).mean()),
        }

    return largest(attempt, asked, began)


def self_training(data: Data, asked: argparse.Namespace, began: float) -> dict:
    def attempt(place: int) -> dict:
        filters = Filters(data, FILTERS[place], asked)
        some = data.unlabelled[: UNLABELLED[place]]
        own = filters.features(data.labelled)
        chosen = logistic(asked, own, data.labels)
        features = np.concatenate([own, filters.features(some)])
        labels = np.concatenate([data.labels, np.full(len(some), -1)])
        model = SelfTrainingClassifier(chosen, threshold=0.9, max_iter=5)
        model.fit(features, labels)
        answers = model.predict(filters.features(data.test))
        return {
            "n_filters": FILTERS[place],
            "C": chosen.get_params()["logisticregression__C"],
            "n_unlabelled_used": len(some),
            "n_labelled_by_itself": int((model.labeled_iter_ > 0).sum()),
            "accuracy": float((answers == data.truth).mean()),
        }

    return largest(attempt, asked, began)


def largest(attempt, asked: argparse.Namespace, began: float) -> dict:
    """The last of the sizes that the minutes allow, and the seconds of each."""
    tried: list[dict] = []
    for place in range(len(FILTERS)):
        start = time.perf_counter()
        tried.append(attempt(place))
        took = time.perf_counter() - start
        tried[-1]["seconds_of_this"] = round(took, 1)
        if time.perf_counter() - began + GROWTH * took > 60 * asked.minutes:
            break
    return tried[-1] | {"sizes": tried}


# --- SimCLR


def simclr(data: Data, asked: argparse.Namespace, began: float) -> dict:
    """Not measured where LightlySSL cannot be used; then the reason is the result."""
    try:
        import torch
        import torchvision
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead
        from lightly.transforms import SimCLRTransform
    except Exception as error:  # a torchvision of another torch fails with RuntimeError
        return {
            "accuracy": None,
            "reason": (
                "LightlySSL cannot be used here, as it wants torchvision: "
                f"{type(error).__name__}: {error}"
            ),
        }
    from PIL import Image

    torch.manual_seed(asked.seed)
    side = data.labelled.shape[-1]
    body = torchvision.models.resnet18()
    body.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    body.maxpool = torch.nn.Identity() if side < 64 else body.maxpool
    body.fc = torch.nn.Identity()
    head = SimCLRProjectionHead(512, 512, 128)
    weights = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.06, momentum=0.9, weight_decay=5e-4)
    body.to(memory_format=torch.channels_last)
    loss_of = NTXentLoss(temperature=0.5)
    views = SimCLRTransform(input_size=side, gaussian_blur=0.0 if side < 64 else 0.5)
    bf16 = precision.choose("auto") == "bf16"  # where it is faster, as fewlabels does
    images = np.concatenate([data.labelled, data.unlabelled])
    draw = np.random.default_rng(asked.seed)
    n_steps, until = 0, 0.9 * 60 * asked.minutes
    while time.perf_counter() - began < until:
        chosen = images[draw.integers(0, len(images), min(128, len(images)))]
        pairs = [views(Image.fromarray(one.transpose(1, 2, 0))) for one in chosen]
        both = torch.stack([pair[i] for i in (0, 1) for pair in pairs])
        both = both.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = body(both)
        loss = loss_of(*head(found.float()).chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        n_steps += 1
    body.eval()

    def features(pixels: np.ndarray) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(pixels), 250):
                pictures = torch.tensor(pixels[start : start + 250]).float() / 255
                mean, deviation = (
                    torch.tensor(values).view(3, 1, 1)
                    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
                )
                pictures = (pictures - mean) / deviation
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    rows.append(body(pictures).float().numpy())
        return np.concatenate(rows)

    known = features(data.labelled)
    probe = logistic(asked, known, data.labels).fit(known, data.labels)
    answers = probe.predict(features(data.test))
    return {"n_steps": n_steps, "accuracy": float((answers == data.truth).mean())}


PEERS = {"pipeline": pipeline, "self-training": self_training, "simclr": simclr}


if __name__ == "__main__":
    main()
