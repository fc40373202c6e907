"""Fetched sets: `stl10`, downloaded once into a cache folder, then read as binaries.

The cache is `pooch.os_cache("fewlabels")`, or $FEWLABELS_CACHE. pooch keeps the cache and verifies
the checksum; its own downloaders start anew after a break, so it is given one that goes on: what
came is kept in `NAME.part`, and asked for from there (RFC 9110, section 14: Range, If-Range).
"""

import http.client
import logging
import os
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import FileIO
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError

import pooch

from fewlabels.errors import DataError
from fewlabels.images import ImageSet
from fewlabels.progress import say, stage
from fewlabels.sources import stl10 as binaries
from fewlabels.sources.pixels import Options

STL10_URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
# as published in torchvision/datasets/stl10.py (`tgz_md5`); its makers publish none
STL10_CHECKSUM = "md5:91f7769df0f17e558f3565bffb0c7dfb"
STL10_FILES = frozenset(
    "train_X.bin train_y.bin test_X.bin test_y.bin unlabeled_X.bin class_names.txt "
    "fold_indices.txt".split()
)
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try; counted anew after progress
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 2**20  # bytes


def stl10(options: Options) -> ImageSet:
    """STL-10 (2.6 GB to fetch, 3.1 GB unpacked), fetched at the first call and then kept.

    Raises
    ------
    DataError : no network, a wrong checksum, or a full disk; says what to do instead
    """
    cache = Path(os.environ.get("FEWLABELS_CACHE") or pooch.os_cache("fewlabels"))
    return stl10_from(STL10_URL, STL10_CHECKSUM, cache.expanduser(), options)


def stl10_from(
    url: str, checksum: str, cache: Path, options: Options, waits: Sequence[float] = WAITS
) -> ImageSet:
    """The set of an archive of STL-10 binaries; kept unpacked in `cache`, beside the archive.

    Parameters
    ----------
    url : of the archive
    checksum : "md5:..." or "sha256:..." of the archive
    waits : seconds before each further try
    """
    folder = cache / "stl10_binary"
    if not folder.is_dir():
        _unpack(fetch(url, checksum, cache, waits), folder)
    return replace(binaries.read(folder, options), name="stl10")


def fetch(url: str, checksum: str, cache: Path, waits: Sequence[float] = WAITS) -> Path:
    """The file at `url` in folder `cache`, downloaded if it is not there with that checksum.

    A download that broke off, even in an earlier process, is gone on with.

    Raises DataError where the file cannot be had, or is not the one with the checksum.
    """
    name = PurePosixPath(url).name
    pooch.get_logger().setLevel(logging.WARNING)  # it would print beside the progress bar

    def download(url: str, output: str, _: object) -> None:
        part = cache / f"{name}.part"
        _download(url, part, waits)
        _note(part).unlink(missing_ok=True)
        part.replace(output)

    try:
        return Path(pooch.retrieve(url, checksum, fname=name, path=cache, downloader=download))
    except ValueError as error:  # pooch's word for a wrong checksum; it has removed the file
        raise DataError(
            f"{url} must have the checksum {checksum}; what came has another, and was removed: run "
            f"the command again, or download it by hand to {cache / name}"
        ) from error
    except OSError as error:
        raise _unwritable(cache, error) from error


def _download(url: str, part: Path, waits: Sequence[float]) -> None:
    """Bring `part` to the whole of `url`, in as many tries as it takes while they bring more."""
    furthest, waiting = _size(part), list(waits)
    while True:
        try:
            return _receive(url, part)
        except HTTPError as error:
            error.close()
            reason = f"{error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                waiting = []  # asking again would change nothing
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if _size(part) > furthest:
            furthest, waiting = _size(part), list(waits)
        if not waiting:
            raise DataError(
                f"{url} cannot be fetched ({reason}): mend the network and run the command again "
                f"(it goes on from {_size(part):,} bytes), or download it by hand to "
                f"{part.with_suffix('')}"
            )
        seconds = waiting.pop(0)
        say(f"the download stopped at {_size(part):,} bytes ({reason}): again in {seconds:g} s")
        time.sleep(seconds)


def _receive(url: str, part: Path) -> None:
    """Ask once for what `part` lacks, and append it; raises what the network raises."""
    held, validator = _held(url, part)
    request = urllib.request.Request(url)
    if held:
        request.add_header("Range", f"bytes={held}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if not (held and error.code == 416):
            raise
        error.close()
        if error.headers.get("Content-Range") == f"bytes */{held}":
            return  # nothing is lacking
        part.unlink()
        raise ConnectionError("the file there is shorter than what was held of it") from None
    with response:
        if response.status != 206:
            held = 0  # all of it comes: the server has no ranges, or its file is another now
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            part.unlink()
            raise ConnectionError("another range came than was asked for")
        _append(response, url, part, held)


def _append(response: http.client.HTTPResponse, url: str, part: Path, held: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = held + int(length) if length.isdecimal() else None
    came = held
    with (
        stage(f"downloading {part.stem}", total=total, unit="bytes") as advance,
        # unbuffered, so that a full disk is told by `write`, never by `close`
        part.open("ab" if held else "wb", buffering=0) as file,
    ):
        _note(part).write_text(f"{url}\n{_validator(response)}")
        advance(held)
        while chunk := response.read1(CHUNK):
            _write(file, chunk, part.parent)
            came += len(chunk)
            advance(len(chunk))
    if total is not None and came < total:
        raise ConnectionError(f"it broke off before byte {total:,}")


def _write(file: FileIO, chunk: bytes, folder: Path) -> None:
    left = memoryview(chunk)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:  # the disk's, not the network's: no reason to try again
        raise _unwritable(folder, error) from error


def _validator(response: http.client.HTTPResponse) -> str:
    """What names this version of the file; a weak ETag (W/...) may not be used in If-Range."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _held(url: str, part: Path) -> tuple[int, str]:
    """How many bytes are there of `url`, and of which version; 0 if they are of another address."""
    if not (_size(part) and _note(part).is_file()):
        return 0, ""
    address, _, validator = _note(part).read_text().partition("\n")
    return (_size(part), validator) if address == url else (0, "")


def _note(part: Path) -> Path:
    return part.with_suffix(".part-of")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unpack(archive: Path, folder: Path) -> None:
    """Write the binaries in `archive` to `folder`, which appears only when it is whole.

    No path in the archive is used: files of the known names are copied, whatever lies around them.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=folder.parent) as scratch:
            unpacked = Path(scratch) / folder.name
            unpacked.mkdir()
            _copy_members(archive, unpacked)
            if not binaries.matches(unpacked):
                raise DataError(
                    f"{archive} must hold train_X.bin; it does not: remove it and fetch it again"
                )
            unpacked.replace(folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} must be a whole tar archive; got: {error}: remove it and fetch it again"
        ) from error
    except OSError as error:
        raise _unwritable(folder.parent, error) from error


def _copy_members(archive: Path, unpacked: Path) -> None:
    with (
        archive.open("rb") as packed,
        tarfile.open(fileobj=packed, mode="r:*") as members,
        stage(f"unpacking {archive.name}", total=_size(archive), unit="bytes") as advance,
    ):
        done = 0
        for member in members:
            source = members.extractfile(member) if member.isfile() else None
            name = PurePosixPath(member.name).name
            if source is None or name not in STL10_FILES:
                continue
            with source, (unpacked / name).open("wb") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    advance(packed.tell() - done)
                    done = packed.tell()


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"the cache {folder} must be a folder that can be written, with 6 GB free; got: "
        f"{error.strerror or error}: mend that, or name another folder in FEWLABELS_CACHE"
    )
