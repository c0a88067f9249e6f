"""The pictures of a run, small enough to travel inside the page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from rtseg.errors import UserError
from rtseg.studies.report.run_folder import Run

_OVERLAYS = 6  # shown, spread over predictions/


class Validation(NamedTuple):
    """The grid of validation images, and when it was made."""

    source: str
    when: str


class Overlay(NamedTuple):
    """A prediction over its picture."""

    source: str
    name: str


def validation(run: Run) -> Validation | None:
    """None where the run has none."""
    if run.picture is None:
        return None
    step = int(run.picture.stem[5:])
    best = run.log.best
    when = "at the best validation" if best and step == best["step"] + 1 else f"after {step} steps"
    return Validation(_data_uri(run.picture, (960, 2400), 900_000), when)


def overlays(run: Run) -> list[Overlay]:
    """A handful of them."""
    count = min(_OVERLAYS, len(run.overlays))
    chosen = [run.overlays[round(k * (len(run.overlays) - 1) / max(count - 1, 1))] for k in range(count)]
    return [
        Overlay(
            _data_uri(path, (640, 640), 130_000),
            path.relative_to(run.folder / "predictions").as_posix().removesuffix("_overlay.jpg"),
        )
        for path in chosen
    ]


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
