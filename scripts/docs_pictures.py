"""Make the pictures of docs/gallery.md small: the PNGs of `fewlabels figures` -> WebP under 300 kB.

fewlabels figures ../shared/data/nette96 --out figures
python scripts/docs_pictures.py figures docs/pictures
"""

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

WIDTH = 1400  # pixels, at most
MOST_BYTES = 300_000
QUALITIES = (90, 80, 70, 60, 50, 40)


def small(path: Path) -> bytes:
    """The picture as WebP: its own pixels where they are few, else ever smaller and coarser."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width = min(picture.width, WIDTH)
    while True:
        height = round(picture.height * width / picture.width)
        resized = picture.resize((width, height), Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            buffer = io.BytesIO()
            resized.save(buffer, "WEBP", quality=quality, method=6)
            if buffer.tell() < MOST_BYTES:
                return buffer.getvalue()
        width = width * 3 // 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="the folder that fewlabels figures wrote")
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    found = sorted(asked.figures.glob("3.*.png"))
    if not found:
        sys.exit(f"{asked.figures} holds no figures: make them with fewlabels figures SOURCE --out")
    asked.out.mkdir(parents=True, exist_ok=True)
    for path in found:
        content = small(path)
        (asked.out / f"{path.stem}.webp").write_bytes(content)
        print(f"{path.stem}.webp: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
