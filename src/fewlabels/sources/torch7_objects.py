"""A file of Torch 7 (`.t7b`, `.t7`) -> Python objects, its tensors mapped.

A reader of our own, because none is kept: torchfile stands at 0.1.0 of 2017, and load_lua left
PyTorch with 1.0; both trust every length and stride in the file. Here the file is mapped, every
size is checked against it before use, and nothing in it is run. Read is the binary form of a
64-bit machine: nil, numbers, strings, booleans, tables and tensors; not functions, other classes,
or the ASCII form. In short, from torch7's File.lua, generic/Tensor.c and generic/Storage.c:

    object  = int32 tag, then by tag
              0 nil; 1 float64; 2 string; 5 int32 (a boolean); 6, 7, 8 a function;
              3 int32 index, int32 count, count x (object key, object value);
              4 int32 index, string "V 1", string class name, then a tensor or a storage
    string  = int32 length, bytes
    tensor  = int32 n_dims, int64 sizes[], int64 strides[], int64 offset from 1, object storage
    storage = int64 size, values

where an index that was met before stands, with nothing after it, for the object met then.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.errors import DataError

AGAIN = "the file may be truncated or damaged, so fetch it again"
DEEPEST = 32  # objects in objects; the course's files have 5
MOST_DIMS = 8
DTYPES = {
    f"torch.{name}{kind}": (kind, np.dtype(code))
    for name, code in {
        **{"Byte": "<u1", "Char": "<i1", "Short": "<i2", "Int": "<i4", "Long": "<i8"},
        **{"Float": "<f4", "Double": "<f8", "Cuda": "<f4"},
    }.items()
    for kind in ("Tensor", "Storage")
}


def load(path: Path) -> Any:
    """The object in a file.

    Returns
    -------
    None, float, bool, str, dict (a table; list-like ones have keys 1.0, 2.0, ...) or an array (a
    tensor, a view of the mapped file; writing to it changes a private copy, never the file)

    Raises
    ------
    DataError : the file is truncated, damaged, in ASCII form, or holds a function or other class
    """
    return _Cursor(path).object()


@dataclass(frozen=True)
class _Storage:
    """The values that tensors look into; a kind of its own, as no tensor may stand in its place."""

    values: np.ndarray


class _Cursor:
    """A place in a mapped file; the objects met so far are kept for those that refer to them."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0
        self.met: dict[int, Any] = {}
        try:
            with path.open("rb") as file:
                # a private copy of what is written: the file itself cannot change
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: an empty file has nothing to map
            raise DataError(f"{path} must be a file with content; got: {error}: {AGAIN}") from error
        if self.map[1:2] in (b"\n", b"\r"):
            raise DataError(
                f"{path} must be in Torch's binary form; it is in its ASCII form: load it in Torch "
                "and save it again with torch.save(name, object)"
            )

    def error(self, what: str) -> DataError:
        return DataError(f"{self.path} {what} (byte {self.place:,} of {len(self.map):,}): {AGAIN}")

    def skip(self, n_bytes: int) -> int:
        """Move on; where the skipped bytes began."""
        left = len(self.map) - self.place
        if not 0 <= n_bytes <= left:
            raise self.error(f"should go on for {n_bytes:,} bytes, and has {left:,} left")
        self.place += n_bytes
        return self.place - n_bytes

    def numbers(self, form: str) -> tuple[Any, ...]:
        packed = struct.Struct("<" + form)
        return packed.unpack_from(self.map, self.skip(packed.size))

    def string(self) -> str:
        (length,) = self.numbers("i")
        start = self.skip(length)
        return self.map[start : start + length].decode(errors="replace")

    def object(self, depth: int = 0) -> Any:
        """The next object: None, float, bool, str, dict, array (a tensor) or _Storage."""
        (tag,) = self.numbers("i")
        match tag:
            case 0:
                return None
            case 1:
                return self.numbers("d")[0]
            case 2:
                return self.string()
            case 3 | 4 if depth < DEEPEST:
                (index,) = self.numbers("i")
                if index not in self.met:
                    self.met[index] = self.table(index, depth) if tag == 3 else self.torch(depth)
                return self.met[index]
            case 5:
                return self.numbers("i")[0] == 1
            case 6 | 7 | 8:
                raise DataError(
                    f"{self.path} must hold tables and tensors only; it holds a Lua function, "
                    "which is never run: save it again without"
                )
        raise self.error(f"holds no object that is known (tag {tag}, {depth} tables deep)")

    def table(self, index: int, depth: int) -> dict[Any, Any]:
        (count,) = self.numbers("i")
        if count < 0:
            raise self.error(f"has a table of {count} entries")
        table: dict[Any, Any] = {}
        self.met[index] = table  # before its content, which may refer to it
        for _ in range(count):
            key = self.object(depth + 1)
            if not isinstance(key, str | float):
                raise self.error(
                    f"has a table key that is no number or string ({type(key).__name__})"
                )
            table[key] = self.object(depth + 1)
        return table

    def torch(self, depth: int) -> "np.ndarray | _Storage":
        name = self.string()
        if name.startswith("V "):  # files older than versions have the class here
            name = self.string()
        if name not in DTYPES:
            raise DataError(
                f"{self.path} must hold tables and tensors only; it holds a {name[:40]!r}: save "
                "its images as a table of ByteTensors"
            )
        kind, dtype = DTYPES[name]
        return self.tensor(dtype, depth) if kind == "Tensor" else self.storage(dtype)

    def storage(self, dtype: np.dtype) -> _Storage:
        (size,) = self.numbers("q")
        start = self.skip(size * dtype.itemsize)
        return _Storage(np.ndarray(size, dtype, buffer=self.map, offset=start))

    def tensor(self, dtype: np.dtype, depth: int) -> np.ndarray:
        (n_dims,) = self.numbers("i")
        if not 0 <= n_dims <= MOST_DIMS:
            raise self.error(f"has a tensor of {n_dims} dimensions")
        sizes, strides = self.numbers(f"{n_dims}q"), self.numbers(f"{n_dims}q")
        (offset,) = self.numbers("q")
        storage = self.object(depth + 1)
        if storage is None or n_dims == 0:
            return np.empty(0, dtype)
        if not isinstance(storage, _Storage) or storage.values.dtype != dtype:
            raise self.error("has a tensor without a storage of its type")
        last = offset - 1 + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        n_values = len(storage.values)
        inside = min(sizes) > 0 and min(strides) >= 0 and offset > 0 and last < n_values
        if not inside or prod(sizes) > n_values:
            raise self.error(f"has a tensor {sizes} outside of its storage of {n_values:,} values")
        # the stride of a dimension of one is never taken, and may be any number
        steps = [dtype.itemsize * (n > 1 and step) for n, step in zip(sizes, strides, strict=True)]
        start = (offset - 1) * dtype.itemsize
        return np.ndarray(sizes, dtype, buffer=storage.values, offset=start, strides=steps)
