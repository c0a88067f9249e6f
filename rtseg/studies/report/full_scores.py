"""What `rtseg validate -o` wrote into the run folder: all scores of each class, worst images, confusion matrix."""

import base64
from dataclasses import dataclass

from rtseg.scores.picture import png
from rtseg.studies.report.run_folder import Run

_WORST = 8


@dataclass(frozen=True)
class FullScores:
    """The scores as the page shows them.

    Attributes:
        how: what was scored, and by which rule.
        columns: headings behind the class.
        rows: class, and its cells.
        worst: image, mean IoU of its classes, pixel accuracy; the worst first.
        confusion: the confusion matrix, as a data URI.
    """

    how: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    worst: list[tuple[str, str, str]]
    confusion: str


def full_scores(run: Run) -> FullScores | None:
    """The scores of a run; None where it has no scores.json."""
    if run.scores is None:
        return None
    scores, interval, images = run.scores
    table = scores.table().without_empty()
    how = scores.how or {}
    parts = [table.title, f"{how.get('checkpoint', 'class maps')} on the {how.get('split', 'val')} images"]
    if how.get("protocol", "whole") != "whole":
        parts.append(f"protocol {how['protocol']}")
    if interval is not None:
        span = f"{interval.level:.0%} interval of mIoU {interval.low:.4f} to {interval.high:.4f}"
        parts.append(f"{span}, by bootstrap over images ({interval.resamples} draws, seed {interval.seed})")
    return FullScores(
        "; ".join(parts),
        [column.title for column in table.columns[1:]],
        [(row[0], row[1:]) for row in table.texts()],
        [(image.name, f"{image.miou:.4f}", f"{image.accuracy:.4f}") for image in images[:_WORST]],
        f"data:image/png;base64,{base64.b64encode(png(scores)).decode()}",
    )
