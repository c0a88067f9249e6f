"""Where results go: what is refused, and that the message names it."""

import os
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.output.folders import check_empty, make_folder


def test_a_folder_is_made_with_its_parents_and_may_be_there(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_an_empty_or_missing_folder_is_free(tmp_path: Path) -> None:
    check_empty(tmp_path, "no repair")
    check_empty(tmp_path / "new" / "folder", "no repair")
    assert not any(tmp_path.iterdir())


def test_what_a_folder_holds_is_named(tmp_path: Path) -> None:
    for k in range(7):
        (tmp_path / f"{k}.png").touch()
    with pytest.raises(UserError, match=r"not empty, it holds 0\.png, .*, 4\.png and 2 more; take another$") as error:
        check_empty(tmp_path, "take another")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_a_file_in_the_way_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    way = tmp_path / name.partition("/")[0]
    with pytest.raises(UserError, match="is a file; give another folder, or move that file away") as error:
        make_folder(tmp_path / name)
    assert f"'{tmp_path / name}' cannot be written to: '{way}'" in str(error.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_empty_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"'{tmp_path / 'file'}' is a file"):
        check_empty(tmp_path / name, "no repair")


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(UserError, match="link' is a link that leads nowhere; give another folder, or move that link"):
        make_folder(tmp_path / "link")


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a file system mounted to be read
    with pytest.raises(UserError, match=rf"'{tmp_path}' cannot be written to: Permission denied.*you may write to"):
        make_folder(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be written to here")
@pytest.mark.parametrize("name", ["", "new", "far/new"])
def test_permissions_of_the_system(name: str, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match=rf"Permission denied \('{tmp_path / 'locked'}'\)"):
        make_folder(tmp_path / "locked" / name)


def test_what_the_system_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"File name too long \('{tmp_path}'\)"):
        make_folder(tmp_path / ("x" * 5000))
