"""What is said of paths that lead nowhere."""

import os
import re
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.paths import cache_folder, check_file, check_images, check_network, is_hub_id, is_path, missing


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs/first/best.ckpt in it."""
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "best.ckpt").touch()
    (tmp_path / "link").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("runs/frist", "'runs/frist' does not exist: did you mean 'runs/first'?"),
        ("runs/first/last.ckpt", "'runs/first/last.ckpt' does not exist: did you mean 'runs/first/best.ckpt'?"),
        ("run/first/best.ckpt", "there is no folder 'run'; did you mean 'runs/first/best.ckpt'?"),
        ("run/other", "there is no folder 'run'; did you mean 'runs'?"),
        ("runs/none", "'runs/none' does not exist: 'runs' holds first."),
        ("runs/none/x", "'runs/none/x' does not exist: there is no folder 'runs/none'; 'runs' holds first."),
        ("zzz", "'zzz' does not exist: this folder holds link, pipe, runs."),
        ("runs/first/best.ckpt/x", "'runs/first/best.ckpt/x' does not exist: 'runs/first/best.ckpt' is a file."),
        ("link", "'link' does not exist: it is a link to 'gone', which is not there."),
        ("pipe", "'pipe' is a pipe or a device."),
        ("x" * 5000, "' does not exist: this folder holds link, pipe, runs."),
    ],
)
def test_what_is_missing(path: str, said: str) -> None:
    assert said in missing(path)


def test_an_empty_folder_and_a_full_one(here: Path) -> None:
    (here / "empty").mkdir()
    assert missing("empty/abc") == "'empty/abc' does not exist: 'empty' is empty."
    for number in range(12):
        (here / "empty" / f"file_{number:02}").touch()
    (here / "empty" / "best.ckpt").touch()
    assert re.search(r"'empty' holds (file_\d\d, ){2}file_\d\d and 10 more\.$", missing("empty/07"))
    assert "file_07" in missing("empty/07")


def test_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repo: str, *files: str) -> Path:
        asked.append((repo, files))
        raise UserError("the hub does not answer")

    monkeypatch.setattr("rtseg.paths.fetch", fetch)
    for name in ("runs", "runs/first/best.ckpt"):
        check_network(name)
    for name in ("runs/none", "none", "a/b/c", "none/best.ckpt"):
        with pytest.raises(UserError, match=r"does not exist: .*Give a \.ckpt file"):
            check_network(name)
    with pytest.raises(UserError, match=r"'rtsp://\*\*\*@cam/live' is a camera or a stream, where a network"):
        check_network("rtsp://ann:secret@cam/live")
    assert asked == [], "only what may be an id is asked for"
    with pytest.raises(UserError) as caught:
        check_network("rnus/firts")
    assert asked == [("rnus/firts", ("config.json",))]
    assert str(caught.value) == (
        "'rnus/firts' is neither a path here (there is no folder 'rnus'; did you mean 'runs'?) nor a Hugging Face id "
        "that can be loaded: the hub does not answer"
    )


def test_images(here: Path) -> None:
    (here / "a.png").touch()
    check_images(["a.png", "runs", "*.png", f"{here}/**/*.ckpt"])
    for source, said in {
        "b*.jpg": "no file matches",
        "a.pgn": "did you mean 'a.png'?",
        "~nobody/x": "no folder",
    }.items():
        with pytest.raises(UserError, match=re.escape(said)):
            check_images(["a.png", source])


def test_a_folder_is_no_file() -> None:
    check_file("runs/first/best.ckpt", "")
    with pytest.raises(UserError, match=r"'runs' is a folder\. Give another\."):
        check_file("runs", "Give another.")


def test_what_can_only_be_a_path() -> None:
    assert [name for name in ("rtformer_slim", "x.ckpt", "a/b", "./a", "net.onnx") if not is_path(name)] == [
        "rtformer_slim"
    ]


def test_the_cache_is_where_the_user_says_or_the_system(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name, value in {"HOME": str(here), "XDG_CACHE_HOME": "", "RTSEG_CACHE": ""}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == here / ".cache" / "rtseg"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == here / "Library" / "Caches" / "rtseg"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(here / "local"))
    assert cache_folder() == here / "local" / "rtseg"
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "xdg"))
    assert cache_folder() == here / "xdg" / "rtseg"
    monkeypatch.setenv("RTSEG_CACHE", "~/own")
    assert cache_folder() == here / "own"
    monkeypatch.setenv("RTSEG_CACHE", "beside")
    assert cache_folder() == here / "beside"
    assert not cache_folder().exists(), "nothing is made"
    monkeypatch.setenv("RTSEG_CACHE", "~nosuch/cache")
    with pytest.raises(UserError, match="RTSEG_CACHE='~nosuch/cache': there is no user 'nosuch' here"):
        cache_folder()


def test_what_can_be_an_id_of_the_hub() -> None:
    for source in ("owner/name", "owner/name-1.0", "owner/name@main", f"owner/name@{'a' * 40}"):
        assert is_hub_id(source), source
    for source in ("name", "/owner/name", "a/b/c", "a/b.ckpt", "a/b@", "a/b@c@d", "../b", "a/b@c.onnx", ""):
        assert not is_hub_id(source), source
