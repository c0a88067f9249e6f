"""Shards in stores and on servers, good ones and bad ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import Mock

import fsspec
import pytest

from pretrain.data.augment import train_transform
from pretrain.data.image_files import Broken
from pretrain.data.make_shards import index_shards, write_index
from pretrain.data.shard_index import ShardIndex, find_index, read_index
from pretrain.data.shard_loader import ShardLoader
from pretrain.data.shards import TrainShards
from rtseg.errors import UserError
from tests.helpers.shards import AUGMENT, prints, shard_loader


def test_from_a_url(packed: ShardIndex) -> None:
    store = fsspec.filesystem("memory")
    store.put(packed.root, "/bucket/imagenet", recursive=True)
    index = find_index("memory://bucket/imagenet")
    assert index is not None
    assert index.splits == packed.splits
    assert prints(shard_loader(index)) == prints(shard_loader(packed))
    again = index_shards(index.root, {"train": "train-*.tar", "val": "val-*.tar"}, classes=packed.classes)
    assert again == index
    with pytest.raises(UserError, match=r"memory://bucket/imagenet has its index\.json"):
        write_index(again)
    store.rm("/bucket/imagenet/index.json")
    write_index(again)
    assert read_index(index.root) == index


class _Ranges(SimpleHTTPRequestHandler):
    """Gives the part of a file that is asked for, as object stores do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        first, _, last = self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        pass


class _Whole(SimpleHTTPRequestHandler):
    """Gives whole files alone, and says so."""

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "none")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


class _Cut(_Ranges):
    """Breaks off in the middle of a tar."""

    def do_GET(self) -> None:
        if not self.path.endswith(".tar"):
            super().do_GET()
            return
        self.send_response(206)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        self.wfile.write(b"x" * 100)
        self.close_connection = True


class _Forbidden(_Ranges):
    def do_GET(self) -> None:
        self.send_error(403)

    def do_HEAD(self) -> None:
        self.send_error(403)


@contextmanager
def _serve(handler: type[SimpleHTTPRequestHandler], folder: str) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_workers_read_from_a_server(packed: ShardIndex) -> None:
    """Though the training's own process has read the index from it, and the threads of that are not in a worker."""
    with _serve(_Ranges, packed.root) as url:
        index = find_index(url)
        assert index is not None
        assert prints(shard_loader(index, workers=2)) == prints(shard_loader(packed, workers=2))
        with pytest.raises(UserError, match=rf"data\.root={url}/nowhere has no index\.json"):
            find_index(f"{url}/nowhere")


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (_Whole, r"train-00000\d\.tar: .*seek.*servers that give parts of files"),
        (_Cut, r"train-00000\d\.tar: cannot be read \(Response payload is not completed.*check the address"),
    ],
)
@pytest.mark.parametrize("broken", ["refuse", "skip"])
def test_servers_that_give_no_tar(
    packed: ShardIndex, handler: type[SimpleHTTPRequestHandler], says: str, broken: Broken
) -> None:
    """That is nothing to be skipped."""
    with _serve(handler, packed.root) as url:
        index = find_index(url)
        assert index is not None
        assert index.splits == packed.splits
        data = TrainShards(index, train_transform(AUGMENT), 4, seed=0, broken=broken)
        with pytest.raises(UserError, match=says):
            list(ShardLoader(data, num_workers=0))


def test_a_server_that_refuses(packed: ShardIndex) -> None:
    with _serve(_Forbidden, packed.root) as url, pytest.raises(UserError, match=r"index\.json: cannot be read \(403"):
        find_index(url)


def test_no_server_at_all() -> None:
    with _serve(_Ranges, ".") as url:
        pass
    for read in (find_index, lambda root: index_shards(root, {"val": "*.tar"})):
        with pytest.raises(UserError, match=rf"{url}.*: cannot be read \(Cannot connect.*check the address"):
            read(f"{url}/x")


def test_an_index_that_cannot_be_written(packed: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nosuch://x: Protocol not known: nosuch; give a folder, or a URL"):
        index_shards("nosuch://x", {"val": "*.tar"})
    with (
        _serve(_Ranges, packed.root) as url,
        pytest.raises(UserError, match=r"nothing can be written over http; give a local folder"),
    ):
        write_index(ShardIndex(f"{url}/new", packed.classes, packed.splits))
    for error in (RuntimeError("Access Denied"), FileNotFoundError("Access Denied")):
        monkeypatch.setattr(fsspec, "open", Mock(side_effect=error))
        with pytest.raises(UserError, match=r"memory://new/index\.json: cannot be written \(Access Denied\)"):
            write_index(ShardIndex("memory://new", packed.classes, packed.splits))


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("memory://nowhere", None, "data.root=memory://nowhere has no index.json"),
        ("nosuch://bucket", None, r"nosuch://bucket/index\.json: Protocol not known.*give a folder, or a URL"),
        ("s3://bucket", ImportError("Install s3fs to access S3"), "s3://bucket/index.json: Install s3fs to access S3"),
        ("s3://bucket", RuntimeError("Access Denied"), r"cannot be read \(Access Denied\); check the address"),
    ],
)
def test_stores_that_cannot_be_reached(
    url: str, error: Exception | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if error is not None:

        def fail(*args: object) -> None:
            raise error

        monkeypatch.setattr(fsspec, "open", fail)
    with pytest.raises(UserError, match=says):
        find_index(url)
