"""Accuracy, time and memory of the k-means recipes on real images, each by the command line.

    python benchmarks/kmeans.py cifar10 kmeans-1 --out cifar10-kmeans-1.json
    python benchmarks/kmeans.py nette96 kmeans-report --out nette96-kmeans-report.json

`cifar10` is 400 labels per class drawn with the seed, the other training images unlabelled, all
10,000 test images; `nette96` is folds 0 to 2 of 1,000 labels, 20,000 unlabelled, 4,000 test
images. Seconds are of the whole command, from reading the images to the report. Images are read
from ../shared/data or $FEWLABELS_DATA.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROTOCOLS = {
    "cifar10": ["fit", "--protocol", "cifar10-400"],
    "nette96": ["score", "--protocol", "folds-1000", "--folds", "0-2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", choices=PROTOCOLS)
    parser.add_argument("recipe")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--set", action="append", default=[], help="a setting, as for fewlabels")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    result = measured(arguments.images, arguments.recipe, arguments.seed, arguments.set)
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def measured(images: str, recipe: str, seed: str, settings: list[str]) -> dict:
    """Run the command, and put what it says beside how long it took and on what machine."""
    data = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    command, *protocol = PROTOCOLS[images]
    changed = [word for setting in settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        line = [
            *(sys.executable, "-m", "fewlabels", command, str(data / images)),
            *("--recipe", recipe, *protocol, "--seed", seed, *changed),
            *("--out", str(Path(folder) / "run"), "--json"),
        ]
        start = time.perf_counter()
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
    found = json.loads(done.stdout)
    for large in ("confusion", "accuracy_per_class", "run", "report"):
        for part in (found, *found.get("folds", ())):
            part.pop(large, None)
    return {
        "images": images,
        "settings": settings,
        "seconds_in_all": round(seconds, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {processor()}",
        **found,
    }


def processor() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
