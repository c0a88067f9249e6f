"""Files are written whole or not at all: on a full disk, over links, devices and folders, with long names."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.output.folders import write_whole, written_whole
from tests.helpers.disk import full_disk

LONG = "x" * 250


def test_a_disk_that_takes_no_more_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "report.html", "old")
    with full_disk(), pytest.raises(UserError, match=r"report.html' cannot be written: File too large \(.* MiB are "):
        write_whole(tmp_path / "report.html", b"n" * 100_000)
    with full_disk(), pytest.raises(UserError, match="cannot be written: File too large"):
        write_whole(tmp_path / "new.html", b"n" * 100_000)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


def test_any_error_inside_leaves_the_older_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    with suppress(KeyboardInterrupt), written_whole(tmp_path / "a") as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_the_sentence_says_how_much_is_free_and_what_to_do(tmp_path: Path) -> None:
    full = r"cannot be written: No space left on device \(\d+\.\d MiB are free in '.*'\); make room there, or choose"
    with pytest.raises(UserError, match=full), written_whole(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(UserError, match="Read-only file system; choose a folder"), written_whole(tmp_path / "a"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and modes as Unix has them")
def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/full")
    for name, what in {"pipe": "a pipe", "folder": "a folder", "link": "a device", "/dev/full": "a device"}.items():
        with pytest.raises(UserError, match=rf"{name}' is {what}.*: give the name of a file"):
            write_whole(tmp_path / name, "content")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"]


@pytest.mark.skipif(os.name == "nt", reason="needs links and modes as Unix has them")
def test_a_link_is_followed_and_a_mode_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "target").write_text("old")
    (tmp_path / "there" / "target").chmod(0o640)
    for name, target in {"link": "there/target", "dangling": "there/new"}.items():
        (tmp_path / name).symlink_to(target)
        write_whole(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_text() == "new"
    assert stat.S_IMODE((tmp_path / "there" / "target").stat().st_mode) == 0o640
    with umask(0o027):
        write_whole(tmp_path / "own", "")
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o640


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    write_whole(tmp_path / LONG, "content")
    assert [path.name for path in tmp_path.iterdir()] == [LONG]
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        write_whole(tmp_path / ("x" * 256), "content")
    with pytest.raises(UserError, match=r"cannot be written: (Not a directory|No such file)"):
        write_whole(tmp_path / LONG / "below", "content")
    assert len(list(tmp_path.iterdir())) == 1
