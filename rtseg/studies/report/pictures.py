"""The pictures of a run, small enough to travel inside the page."""

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

from rtseg.errors import UserError
from rtseg.studies.report.elements import swatch
from rtseg.studies.report.run_folder import Run

_OVERLAYS = 6  # shown, spread over predictions/
_LONG = 30  # classes above which the legend folds away


def picture_section(run: Run) -> str:
    """The validation grid, the legend, and a handful of overlays; empty where the run has neither."""
    parts = []
    if run.picture is not None:
        step = int(run.picture.stem[5:])
        best = run.log.best
        when = "at the best validation" if best and step == best["step"] + 1 else f"after {step} steps"
        image = _data_uri(run.picture, (960, 2400), 900_000)
        parts.append(
            '<div class="columns"><span>image</span><span>prediction</span><span>truth</span></div>'
            f'<img class="validation" src="{image}" alt="Rows of image, prediction and truth, {when}">'
            f'<p class="soft">Validation images {when}; black in the truth is not labelled.</p>'
        )
    if run.overlays:
        count = min(_OVERLAYS, len(run.overlays))
        chosen = [run.overlays[round(k * (len(run.overlays) - 1) / max(count - 1, 1))] for k in range(count)]
        figures = []
        for path in chosen:
            name = escape(path.relative_to(run.folder / "predictions").as_posix().removesuffix("_overlay.jpg"))
            image = _data_uri(path, (640, 640), 130_000)
            figures.append(
                f'<figure><img src="{image}" alt="{name} tinted by its predicted classes">'
                f"<figcaption>{name}</figcaption></figure>"
            )
        parts.append(
            f"<h3>Predictions over the picture ({count} of {len(run.overlays)})</h3>"
            f'<div class="overlays">{"".join(figures)}</div>'
        )
    if not parts:
        return ""
    if run.card is None:  # the pictures have the data set's colours, which nothing here tells
        legend = ""
    else:
        legend = "".join(f"<li>{swatch(entry)}{escape(entry.name)}</li>" for entry in run.classes)
        legend = f'<ul class="legend">{legend}</ul>'
        if len(run.classes) > _LONG:
            legend = f"<details><summary>The {len(run.classes)} colours</summary>{legend}</details>"
    return f"<section><h2>What it sees</h2>{parts[0]}{legend}{''.join(parts[1:])}</section>"


def _data_uri(path: Path, most: tuple[int, int], most_bytes: int) -> str:
    """The picture as a JPEG inside the page, at most (width, height) and about `most_bytes` large."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise UserError(f"{path}: not a readable image ({error}); remove it, or write it again") from None
    image.thumbnail(most)
    for quality in (86, 75, 60, 40):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, subsampling=0 if quality > 60 else 2)
        if buffer.tell() <= most_bytes:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
