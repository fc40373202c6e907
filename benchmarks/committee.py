"""What the head on filters adds to the networks of a committee, on the test images.

    python benchmarks/committee.py runs/committee ../shared/data/cifar10 --out committee.json

Of a run of `committee` or `consistency-committee` with a kernel head: the accuracy of the networks
and of the head alone, of both with the head at parts of its weight, and the gain by it as it is,
with its standard error.
"""

import argparse
import json
from pathlib import Path

import torch

import fewlabels
from fewlabels import features
from fewlabels.committee import WEIGHT
from fewlabels.model import Model
from fewlabels.ways.watching import difference

PARTS = (0.0, 0.5, 1.0, 1.5)  # of the weight that the head has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    asked = parser.parse_args()
    model, test = Model.load(asked.run), fewlabels.read(asked.source, parts=("test",)).test
    head, n_logits = model.head, len(model.class_names)
    answers: dict[float, list[torch.Tensor]] = {part: [] for part in PARTS}
    alone = []
    for rows_BD in features.blocks(model.graph, test, flips=model.recipe.flips):
        scaled_BD = (rows_BD - head.tensors["mean"]) * head.tensors["scale"]
        of_networks_BL = scaled_BD[:, :n_logits] @ head.tensors["direct"]
        of_head_BL = head.answers(rows_BD) - of_networks_BL
        alone.append(of_head_BL.argmax(1))
        for part in PARTS:
            answers[part].append((of_networks_BL + part * of_head_BL).argmax(1))
    right = {part: torch.cat(found).numpy() == test.labels for part, found in answers.items()}
    gain, error = difference(right[0.0], right[1.0])
    result = {
        "run": str(asked.run),
        "n_test": len(test),
        "head_alone": float((torch.cat(alone).numpy() == test.labels).mean()),
        "by_weight": {f"{WEIGHT * part:g}": float(right[part].mean()) for part in PARTS},
        "gain": gain,
        "gain_error": error,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
