"""What a data set is like, from what was seen: numbers, sizes, classes, mean and deviation, and the YAML to use."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rtseg.data.findings.finding import FAULT, Finding
from rtseg.data.findings.looks import Seen, Split
from rtseg.data.findings.occurrence import pixels
from rtseg.studies.check_data.source import SPLITS, Source
from rtseg.training.from_data import choose_class_weights

_DIGITS = 4  # of mean and deviation
# Keys that a repaired one makes untrue: a list of colours, or a map, is of as many classes as there were.
_REPLACED = {"colors": ("label_map", "ignore"), "label_map": ("colors",), "classes": ("label_map", "palette")}


@dataclass(frozen=True)
class SplitFacts:
    """A split in numbers: pairs, the sizes of its images by how many have them, kinds of pixels, the ignored share."""

    pairs: int
    median: tuple[int, int] | None
    sizes: dict[str, int]
    forms: dict[str, int]
    ignored: float


@dataclass(frozen=True)
class ClassFacts:
    """A class: its share of the labelled pixels and the masks that show it, by split; and its weight in `auto`."""

    name: str
    id: int
    shares: dict[str, float]
    masks: dict[str, int]
    weight: float


@dataclass(frozen=True)
class Summary:
    """All that is told of a data set.

    Attributes:
        mean, std: of each channel over the training images, levels / 255.
        yaml: the YAML to use, with what the findings change in it; empty for data sets without one.
    """

    dataset: str
    root: str
    splits: dict[str, SplitFacts]
    classes: list[ClassFacts]
    mean: list[float]
    std: list[float]
    yaml: str
    proposed: list[str]
    findings: list[Finding]

    @property
    def faults(self) -> int:
        return sum(finding.severity == FAULT for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        findings = [
            {
                "severity": one.severity.word,
                "kind": one.kind,
                "text": one.text,
                "files": list(map(str, one.files)),
                "yaml": dict(one.yaml),
            }
            for one in self.findings
        ]
        return {**asdict(self), "findings": findings}


def summarise(source: Source, seen: Seen, findings: Sequence[Finding]) -> Summary:
    """The summary of what was seen."""
    counts = {split.name: pixels(seen, split) for split in seen.splits}
    number = len(seen.labels.names)
    shares = {name: found[:number] / max(1, found[:number].sum()) for name, found in counts.items()}
    shown = {split.name: _masks_with(seen, split) for split in seen.splits}
    first = next(iter(shares))
    weights = choose_class_weights([float(share) for share in shares[first]])
    mean, std = _moments(seen.splits[0])
    return Summary(
        source.name,
        str(source.root),
        {split.name: _facts(split, counts[split.name]) for split in seen.splits},
        [
            ClassFacts(
                name,
                int(seen.labels.ids[k]),
                {split: float(found[k]) for split, found in shares.items()},
                {split: int(found[k]) for split, found in shown.items()},
                weights[k],
            )
            for k, name in enumerate(seen.labels.names)
        ],
        mean,
        std,
        _yaml(source, mean, std, findings),
        source.proposed,
        list(findings),
    )


def _facts(split: Split, counts: np.ndarray) -> SplitFacts:
    found = [image for image in split.images if image.fault is None]
    sizes = Counter(f"{image.size[0]}x{image.size[1]}" for image in found)
    middle = np.median([image.size for image in found], axis=0) if found else None
    return SplitFacts(
        len(split.pairs),
        None if middle is None else (int(middle[0]), int(middle[1])),
        dict(sizes.most_common()),
        dict(Counter(image.form for image in found if image.form).most_common()),
        float(counts[-2] / max(1, counts.sum())),
    )


def _masks_with(seen: Seen, split: Split) -> np.ndarray:
    """How many masks show each class."""
    number = len(seen.labels.names)
    looks = [look for mask in split.mask_files if (look := seen.usable.get(mask))]
    return sum((seen.classes(look)[:number] > 0 for look in looks), start=np.zeros(number, int))


def _moments(split: Split) -> tuple[list[float], list[float]]:
    """Over all pixels of the images, each image by its number of pixels."""
    found = [image for image in split.images if image.fault is None and image.mean]
    if not found or len({len(image.mean) for image in found}) > 1:
        return [], []
    weights = np.array([math.prod(image.size) for image in found], float)
    mean = np.average([image.mean for image in found], axis=0, weights=weights)
    square = np.average([image.square for image in found], axis=0, weights=weights)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return [round(float(m), _DIGITS) for m in mean], [round(float(s), _DIGITS) for s in std]


def _yaml(source: Source, mean: Sequence[float], std: Sequence[float], findings: Sequence[Finding]) -> str:
    """The YAML with what the findings change; empty where there is none. Channels get their mean and deviation."""
    if not source.yaml:
        return ""
    changed = dict(source.yaml)
    if source.channels is not None and mean:
        changed |= {"channels": source.channels, "mean": list(mean), "std": list(std)}
    for finding in findings:
        for key, value in finding.yaml.items():
            changed[key] = value
            for other in _REPLACED.get(key, ()):
                changed.pop(other, None)
    return _dumped(changed)


def written_in(folder: Path, text: str, base: Path) -> str:
    """A YAML for another folder: its relative paths, which start at `base`, start at `folder`."""
    if os.path.realpath(folder) == os.path.realpath(base):
        return text
    content = yaml.safe_load(text)
    for split in SPLITS:
        for what, pattern in content.get(split, {}).items():
            if not Path(pattern).expanduser().is_absolute():
                path = os.path.relpath(os.path.join(os.path.realpath(base), pattern), os.path.realpath(folder))
                content[split][what] = Path(path).as_posix()
    return _dumped(content)


def _dumped(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
