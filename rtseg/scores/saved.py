"""Scores that `rtseg validate -o` or `rtseg score -o` wrote, read again."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rtseg.errors import UserError
from rtseg.output.json_file import parse_json
from rtseg.scores.bootstrap import Interval
from rtseg.scores.scores import Scores


class ImageScore(NamedTuple):
    """An image, with the mean IoU of its own classes and the share of its labelled pixels that are right."""

    name: str
    miou: float
    accuracy: float


class SavedScores(NamedTuple):
    """What a file of scores says.

    Attributes:
        scores: without the counts of single images.
        interval: of mIoU.
        images: the worst first.
    """

    scores: Scores
    interval: Interval | None
    images: tuple[ImageScore, ...]


def read_scores(file: Path) -> SavedScores:
    """Raises: UserError where the file cannot be read or holds something else."""
    try:
        content = parse_json(file.read_bytes(), f"'{file}'")
        return _parse(content)
    except OSError as error:
        raise UserError(f"'{file}' cannot be read: {error.strerror}") from None
    except (TypeError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"'{file}' was not written by this version of `rtseg validate -o` ({type(error).__name__}: {error}); "
            "remove it and score again"
        ) from None


def _parse(content: dict[str, Any]) -> SavedScores:
    names = tuple(str(entry["name"]) for entry in content["classes"])
    confusion = torch.tensor(content["confusion"], dtype=torch.int64)
    if confusion.shape != (len(names), len(names)):
        raise ValueError(f"a confusion matrix of {tuple(confusion.shape)} for {len(names)} classes")
    width, boundary = content.get("boundary_width"), content.get("boundary_counts")
    how: dict[str, Any] = {
        key: content[key] for key in ("checkpoint", "dataset", "split", "protocol") if key in content
    }
    counts = None if boundary is None else np.array(boundary, np.int64).reshape(3, len(names))
    interval = content.get("interval")
    return SavedScores(
        Scores(names, confusion, None, counts, width, how),
        None if interval is None else Interval(**interval),
        tuple(ImageScore(str(one["name"]), float(one["miou"]), float(one["accuracy"])) for one in content["images"]),
    )
