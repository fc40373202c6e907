"""Downloads from a server on loopback that breaks off, ignores ranges, lies, or is not there."""

import hashlib
import io
import resource
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from breaking_server import CONTENT, Server
from fewlabels.errors import DataError
from fewlabels.progress import watching
from fewlabels.sources import download
from fewlabels.sources.pixels import Options

HALF = 150_000  # bytes
NO_WAITS = (0.0, 0.0)


def checksum(content: bytes) -> str:
    return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Listener:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None, str]] = []
        self.counts: list[int] = []
        self.words: list[str] = []

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.stages.append((stage, total, unit))
        self.counts.append(0)

    def advanced(self, stage: str, count: int) -> None:
        self.counts[-1] += count

    def ended(self, stage: str, seconds: float) -> None: ...

    def said(self, message: str) -> None:
        self.words.append(message)


def fetch(server: Server, cache: Path, content: bytes = CONTENT) -> Path:
    return download.fetch(server.url, checksum(content), cache, NO_WAITS)


def refusal(server: Server, cache: Path) -> str:
    with pytest.raises(DataError) as caught:
        fetch(server, cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_fetched_once_with_its_bytes_counted(server, tmp_path):
    with watching(Listener()) as listener:
        first = fetch(server, tmp_path)
        second = fetch(server, tmp_path)

    assert CONTENT == first.read_bytes()
    assert first == second
    assert [None] == server.asked
    assert [("downloading set.tar.gz", 300_000, "bytes")] == listener.stages
    assert [300_000] == listener.counts


def test_a_download_that_breaks_off_goes_on_from_there(server, tmp_path):
    server.breaks = [HALF]

    with watching(Listener()) as listener:
        path = fetch(server, tmp_path)

    assert CONTENT == path.read_bytes()
    assert [None, "bytes=150000-"] == server.asked
    assert [HALF, 300_000] == listener.counts
    assert "stopped at 150,000 bytes" in listener.words[0]


def test_tries_are_counted_anew_after_progress(server, tmp_path):
    server.breaks = [30_000] * 9

    assert CONTENT == fetch(server, tmp_path).read_bytes()
    assert 10 == len(server.asked)


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.breaks = [HALF, 0, 0]

    message = refusal(server, tmp_path)
    path = fetch(server, tmp_path)

    assert "150,000 bytes" in message
    assert CONTENT == path.read_bytes()
    assert "bytes=150000-" == server.asked[-1]
    assert ["set.tar.gz"] == [left.name for left in tmp_path.iterdir()]


def test_a_server_without_ranges_is_asked_for_all_again(server, tmp_path):
    server.ranges = False
    server.breaks = [HALF]

    assert CONTENT == fetch(server, tmp_path).read_bytes()


def test_a_server_that_always_breaks_off_at_one_place_is_given_up(server, tmp_path):
    server.ranges = False
    server.breaks = [HALF] * 100

    assert "broke off before byte 300,000" in refusal(server, tmp_path)
    assert 4 >= len(server.asked)


@pytest.mark.parametrize("tag", ['"two"', ""])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path, tag):
    server.breaks = [HALF, 0, 0]
    refusal(server, tmp_path)
    server.content, server.tag = CONTENT[::-1], tag

    assert server.content == fetch(server, tmp_path, server.content).read_bytes()


def test_without_a_version_the_checksum_tells_a_changed_file(server, tmp_path):
    server.tag = ""
    server.breaks = [HALF, 0, 0]
    refusal(server, tmp_path)
    server.content = CONTENT[::-1]

    with pytest.raises(DataError, match="checksum"):
        fetch(server, tmp_path, server.content)
    assert server.content == fetch(server, tmp_path, server.content).read_bytes()


def test_what_came_from_another_address_is_not_gone_on_with(server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * HALF)
    (tmp_path / "set.tar.gz.part-of").write_text('http://elsewhere/set.tar.gz\n"one"')

    assert CONTENT == fetch(server, tmp_path).read_bytes()
    assert [None] == server.asked


@pytest.mark.parametrize(("held", "n_requests"), [(CONTENT, 1), (CONTENT + b"more", 2)])
def test_a_part_that_lacks_nothing_is_taken_and_one_too_long_is_fetched_anew(
    server, tmp_path, held, n_requests
):
    (tmp_path / "set.tar.gz.part").write_bytes(held)
    (tmp_path / "set.tar.gz.part-of").write_text(f'{server.url}\n"one"')

    assert CONTENT == fetch(server, tmp_path).read_bytes()
    assert n_requests == len(server.asked)


def test_a_wrong_checksum_is_told_and_nothing_is_left(server, tmp_path):
    server.content = CONTENT[::-1]

    message = refusal(server, tmp_path)

    assert checksum(CONTENT) in message
    assert "run the command again" in message
    assert [] == list(tmp_path.iterdir())


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]

    assert CONTENT == fetch(server, tmp_path).read_bytes()


def test_an_absent_file_is_not_asked_for_again(server, tmp_path):
    server.statuses = [404] * 9

    assert "404 Not Found" in refusal(server, tmp_path)
    assert 1 == len(server.asked)


def test_without_a_network_the_address_and_a_way_by_hand_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as closed:
        pass  # its port is free again

    message = refusal(closed, tmp_path)

    assert closed.url in message
    assert "refused" in message
    assert f"by hand to {tmp_path / 'set.tar.gz'}" in message


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """A disk that is full after `n_bytes` in a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_at_once_and_gone_on_from_later(server, tmp_path):
    with files_of_at_most(HALF):
        message = refusal(server, tmp_path)

    assert str(tmp_path) in message
    assert "FEWLABELS_CACHE" in message
    assert CONTENT == fetch(server, tmp_path).read_bytes()
    assert [None, "bytes=150000-"] == server.asked


def packed_set(prefix: str = "stl10_binary/") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), np.uint8)
    files = {"train_X.bin": pixels.tobytes(), "train_y.bin": bytes([1, 2, 1, 2])}
    files["class_names.txt"] = b"cat\ndog\n"
    files["../escaped.txt"] = b"this must not be written"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(prefix + "test_X.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return packed.getvalue()


@pytest.mark.parametrize("prefix", ["stl10_binary/", "/", "../"])
def test_stl10_is_fetched_unpacked_and_read_once(server, tmp_path, monkeypatch, prefix):
    server.content = packed_set(prefix)
    cache = tmp_path / "cache"
    monkeypatch.setenv("FEWLABELS_CACHE", str(cache))
    monkeypatch.setattr(download, "STL10_URL", server.url)
    monkeypatch.setattr(download, "STL10_CHECKSUM", checksum(server.content))

    for _ in range(2):
        images = download.stl10(Options())

    assert ("stl10", ("cat", "dog"), 4) == (images.name, images.class_names, len(images.train))
    assert 1 == len(server.asked)
    assert ["cache"] == [path.name for path in tmp_path.iterdir()]
    assert {"class_names.txt", "train_X.bin", "train_y.bin"} == {
        path.name for path in (cache / "stl10_binary").iterdir()
    }


@pytest.mark.parametrize("content", [packed_set()[:5_000], CONTENT])
def test_a_broken_archive_leaves_no_unpacked_folder(server, tmp_path, content):
    server.content = content

    with pytest.raises(DataError, match=r"set\.tar\.gz must"):
        download.stl10_from(server.url, checksum(content), tmp_path, Options(), NO_WAITS)
    assert ["set.tar.gz"] == [path.name for path in tmp_path.iterdir() if path.suffix == ".gz"]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")

    assert "must be a folder that can be written" in refusal(server, tmp_path / "file")


def test_the_cache_is_pooch_s_unless_another_is_named(monkeypatch, tmp_path):
    caches = []
    monkeypatch.setattr(
        download, "stl10_from", lambda url, sum_, cache, options: caches.append(cache)
    )
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path))
    download.stl10(Options())
    monkeypatch.delenv("FEWLABELS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    download.stl10(Options())

    assert tmp_path == caches[0]
    assert "fewlabels" == caches[1].name
