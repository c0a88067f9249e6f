"""A weight file -> the network that it describes."""

from pathlib import Path

from rtseg.models.segmenter import Segmenter


def load_segmenter(source: str | Path) -> Segmenter:
    """`Segmenter.from_pretrained`, under the name that training.pretrained imports."""
    return Segmenter.from_pretrained(source)
