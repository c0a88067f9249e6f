"""What the report shows of scores.json."""

from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.scores.saved import read_scores
from rtseg.studies.report import write_report
from tests.helpers.run_folder import Page, drawn_scores


def test_worst_images_come_first(run: Path) -> None:
    found = drawn_scores()
    (run / "scores.json").write_text(found.json())
    page = Page(write_report(run))
    assert found.images is not None
    worst = found.images.worst()
    shown = [row for row in page.rows if row and row[0] in found.images.names]
    assert [row[0] for row in shown] == [found.images.names[i] for i in worst]
    assert shown[0][1] == f"{found.images.miou[worst[0]]:.4f}"
    for text in ("protocol ms-flip", "1000 draws, seed 0", f"mIoU {found.miou:.4f}", "boundary IoU"):
        assert text in page.text
    assert "data:image/png;base64" in page.html


def test_a_file_read_again_is_the_same(tmp_path: Path) -> None:
    found = drawn_scores()
    (tmp_path / "scores.json").write_text(found.json())
    again = read_scores(tmp_path / "scores.json")
    assert again.scores.table() == found.table()
    assert again.interval == found.interval


def test_without_it_the_command_is_named(run: Path) -> None:
    text = Page(write_report(run)).text
    assert "No scores.json: the worst images and the confusion matrix" in text
    assert "scores.json" in text.partition("rtseg validate")[2]


@pytest.mark.parametrize(
    ("content", "says"), [("{", "is not JSON"), ("{}", "was not written by this version"), ("[]", "was not written")]
)
def test_other_files_are_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(UserError, match=says):
        read_scores(tmp_path / "scores.json")


def test_scores_of_other_classes_are_refused(run: Path) -> None:
    (run / "scores.json").write_text(drawn_scores(("x", "y")).json())
    with pytest.raises(UserError, match="is of other classes"):
        write_report(run)
