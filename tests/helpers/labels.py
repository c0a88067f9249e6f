"""Labelled sets as tests write and read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.dataset import create_dataset
from rtseg.data.labels.convert import Summary

Picture = Callable[..., Path]
Convert = Callable[..., Summary]


def masks(folder: Path, split: str = "train") -> dict[str, np.ndarray]:
    """Name -> mask, as data set `folder` reads them, with their images."""
    dataset = create_dataset("folder", folder, split)
    return {dataset[k].name: dataset[k].mask for k in range(len(dataset))}


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
