"""Files over HTTPS from a server of this machine, which cuts off, lies, leads elsewhere and changes its files."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtseg.download import UnfetchedError, download
from rtseg.errors import UserError
from tests.helpers.https import Store, https_store

CONTENT = os.urandom(300_000)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with https_store({"/net/model.bin": CONTENT}) as store:
        monkeypatch.setenv("SSL_CERT_FILE", str(store.certificate))
        yield store


def fetch(store: Store, folder: Path, most: int = 10**6, path: str = "/net/model.bin") -> Path:
    download(store.address + path, folder / "file", most=most)
    return folder / "file"


def test_a_file_comes_whole(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "and nothing else is left"
    assert "fetching model.bin from 127.0.0.1, 0.3 MB" in capsys.readouterr().err


def test_it_goes_on_where_it_was_cut_off(store: Store, tmp_path: Path) -> None:
    store.cut = [100_000, 50_000]
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert store.asked == ["/net/model.bin", "/net/model.bin from 100000", "/net/model.bin from 150000"]


def test_the_next_command_goes_on_too(store: Store, tmp_path: Path) -> None:
    store.cut = [100_000, 0]
    with pytest.raises(UnfetchedError, match=r"was cut off after 0\.1 MB \(the server ended the connection\)"):
        fetch(store, tmp_path)
    assert not (tmp_path / "file").exists()
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert store.asked[-1] == "/net/model.bin from 100000"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_parts_that_are_others_than_were_asked_for(store: Store, tmp_path: Path) -> None:
    store.cut, store.longest = [100_000], 90_000
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert store.asked[1:] == [f"/net/model.bin from {n}" for n in (100_000, 190_000, 280_000)]
    (tmp_path / "file").unlink()
    store.cut, store.longest, store.shifted = [100_000], 10**9, 1
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert store.asked[-2:] == ["/net/model.bin from 100000", "/net/model.bin"]


def test_more_than_the_whole_file_is_not_kept(store: Store, tmp_path: Path) -> None:
    store.cut = [100_000, 0]
    with pytest.raises(UnfetchedError):
        fetch(store, tmp_path)
    with (tmp_path / "file.part").open("ab") as part:
        part.write(bytes(300_000))
    assert fetch(store, tmp_path).read_bytes() == CONTENT
    assert store.asked[-2:] == ["/net/model.bin from 400000", "/net/model.bin"]


@pytest.mark.parametrize("without", ["tagged", "ranges"])
def test_a_server_that_sends_no_parts_begins_again(store: Store, tmp_path: Path, without: str) -> None:
    setattr(store, without, False)
    store.cut = [100_000]
    assert fetch(store, tmp_path).read_bytes() == CONTENT


def test_two_versions_of_a_file_are_not_mixed(store: Store, tmp_path: Path) -> None:
    store.cut = [100_000, 0]
    with pytest.raises(UnfetchedError):
        fetch(store, tmp_path)
    store.files["/net/model.bin"] = other = os.urandom(250_000)
    assert fetch(store, tmp_path).read_bytes() == other
    store.cut = [200_000, 0]
    (tmp_path / "file").unlink()
    with pytest.raises(UnfetchedError):
        fetch(store, tmp_path)
    store.files["/net/model.bin"] = short = os.urandom(1000)
    assert fetch(store, tmp_path).read_bytes() == short


def test_a_command_killed_as_a_new_version_begins_leaves_no_mixture(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cut = [100_000, 0]
    with pytest.raises(UnfetchedError):
        fetch(store, tmp_path)
    store.files["/net/model.bin"] = other = os.urandom(250_000)

    opened = Path.open

    def killed(file: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if mode == "wb":  # the new version is noted, and none of its bytes is here
            raise KeyboardInterrupt
        return opened(file, mode, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(store, tmp_path)
    assert fetch(store, tmp_path).read_bytes() == other


def test_too_large_is_refused_before_it_comes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnfetchedError, match=r"has 0\.3 MB, more than the 0\.2 MB that it may have at most"):
        fetch(store, tmp_path, most=200_000)
    store.lengths = False
    with pytest.raises(UnfetchedError, match="does not say how large the file is"):
        fetch(store, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_https_alone(store: Store, tmp_path: Path) -> None:
    for address in (
        "http://127.0.0.1/x",
        "file:///etc/passwd",
        "ftp://a/b",
        "127.0.0.1/x",
        "https:///x",
        "https://[x",
        "",
    ):
        with pytest.raises(UnfetchedError, match="is not an https address"):
            download(address, tmp_path / "file", most=1)
    with pytest.raises(UnfetchedError):  # no name of a host
        download(f"https://{'a' * 70}.x/y", tmp_path / "file", most=1)
    store.moved = {
        "/e": "https://[x",
        "/a": store.address + "/net/model.bin",
        "/b": "http://127.0.0.1/x",
        "/c": "/c",
        "/d": "file:///x",
    }
    assert fetch(store, tmp_path, path="/a").read_bytes() == CONTENT
    with pytest.raises(UnfetchedError, match=r"leads to 'http://127.0.0.1/x', which is not an https address"):
        fetch(store, tmp_path, path="/b")
    with pytest.raises(UnfetchedError, match=r"/e: |leads to 'https://\[x'"):
        fetch(store, tmp_path, path="/e")
    with pytest.raises(UnfetchedError, match="the server answers 'HTTP Error 302"):
        fetch(store, tmp_path, path="/c")
    with pytest.raises(UnfetchedError, match="Redirection to url 'file:///x' is not allowed"):
        fetch(store, tmp_path, path="/d")


def test_what_stands_in_the_way_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnfetchedError, match="the server answers 'HTTP Error 404: Not Found'"):
        fetch(store, tmp_path, path="/lost")
    with pytest.raises(UnfetchedError, match=r"localhost.*certificate is not trusted \(Hostname mismatch"):
        download(store.address.replace("127.0.0.1", "localhost") + "/x", tmp_path / "file", most=1)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UnfetchedError, match=r"certificate is not trusted \(self.signed.*SSL_CERT_FILE names"):
        fetch(store, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnfetchedError, match=r"[Rr]efused"):
        download(f"https://127.0.0.1:{port}/x", tmp_path / "file", most=1)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_no_https_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UnfetchedError, match="SSL"):
            download(f"https://127.0.0.1:{plain.getsockname()[1]}/x", tmp_path / "file", most=1)


def test_a_disk_without_room(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 200_000

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Usage)
        with pytest.raises(UserError, match=r"has 0\.2 MB free, and 0\.3 MB are to come: make room there"):
            fetch(store, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        fetch(store, tmp_path)
    assert not (tmp_path / "file").exists()
