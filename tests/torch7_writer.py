"""Torch 7 files as torch.save writes them, from the format's description."""

import struct
from pathlib import Path

import numpy as np

CLASS_OF = {"u1": "Byte", "i1": "Char", "i2": "Short", "i4": "Int", "i8": "Long"}
CLASS_OF |= {"f4": "Float", "f8": "Double"}


class Writer:
    """torch.save in a few lines: each table, tensor and storage has an index of its own."""

    def __init__(self) -> None:
        self.n_written = 0

    def index(self) -> bytes:
        self.n_written += 1
        return struct.pack("<i", self.n_written)

    def text(self, words: str) -> bytes:
        return struct.pack("<i", len(words)) + words.encode()

    def object(self, value) -> bytes:
        if value is None:
            return struct.pack("<i", 0)
        if isinstance(value, bool):
            return struct.pack("<ii", 5, value)
        if isinstance(value, int | float):
            return struct.pack("<id", 1, value)
        if isinstance(value, str):
            return struct.pack("<i", 2) + self.text(value)
        if isinstance(value, list):
            value = {number: item for number, item in enumerate(value, start=1)}
        if isinstance(value, dict):
            head = struct.pack("<i", 3) + self.index() + struct.pack("<i", len(value))
            return head + b"".join(self.object(k) + self.object(v) for k, v in value.items())
        return self.tensor(value)

    def tensor(self, array: np.ndarray) -> bytes:
        strides = [step // array.itemsize for step in np.empty(array.shape, array.dtype).strides]
        return self.view(array, array.shape, strides, 1)

    def view(self, values: np.ndarray, sizes, strides, offset: int) -> bytes:
        head = struct.pack("<i", 4) + self.index() + self.text("V 1")
        head += self.text(f"torch.{CLASS_OF[values.dtype.str[1:]]}Tensor")
        head += struct.pack("<i", len(sizes))
        head += struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, offset)
        return head + self.storage(values)

    def storage(self, values: np.ndarray) -> bytes:
        head = struct.pack("<i", 4) + self.index() + self.text("V 1")
        head += self.text(f"torch.{CLASS_OF[values.dtype.str[1:]]}Storage")
        return head + struct.pack("<q", values.size) + values.tobytes()


def save(path: Path, value) -> None:
    path.write_bytes(Writer().object(value))


def pictures(n_images: int, *, seed: int = 0, side: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_images, 3, side, side), np.uint8)
