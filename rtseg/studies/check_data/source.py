"""What is to be checked: the splits of a data set, or a folder of images and masks that has no YAML yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg.data import create_dataset, label_space
from rtseg.data.dataset import IGNORE, LabelSpace, SegmentationDataset
from rtseg.data.findings.finding import CAUTION, FAULT, NOTE, Finding
from rtseg.data.folder import ColorDecoder, described_folder, described_splits
from rtseg.data.gathering import Gathered, gathering
from rtseg.errors import UserError
from rtseg.studies.check_data.proposal import propose
from rtseg.yaml_file import LISTS, read_yaml

SPLITS = ("train", "val", "test")
_NO_VAL = (
    "keep some for it, as docs/own-images.md#keep-some-images-for-validation shows, or train without a score "
    "(--trainer.limit_val_batches=0)"
)
FOLDER, YAML = "folder", "dataset.yaml"


@dataclass
class Source:
    """A data set as it was found.

    Attributes:
        name: of the data set, as `data.dataset` takes it.
        root: as `data.root` takes it.
        datasets: the splits that could be opened.
        labels: the classes.
        gathered: what was searched and what was left over.
        findings: splits that could not be opened.
        yaml: content of the folder's YAML, the proposed one where there is none; empty for other data sets.
        proposed: why the YAML is as it is, where it is a proposal.
    """

    name: str
    root: Path
    datasets: dict[str, SegmentationDataset]
    labels: LabelSpace
    gathered: Gathered
    findings: list[Finding] = field(default_factory=list)
    yaml: dict[str, Any] = field(default_factory=dict)
    proposed: list[str] = field(default_factory=list)

    @property
    def meanings(self) -> dict[int, int] | None:
        """Number or colour -> class; None where the data set reads its files in a way of its own."""
        dataset = next(iter(self.datasets.values()))
        found = getattr(dataset.decode, "meanings", None)
        return found if dataset.reads_files else None

    @property
    def own_meanings(self) -> dict[int, int]:
        """The same for masks that the data set has decoded itself."""
        return {**{k: k for k in range(len(self.labels.names))}, IGNORE: IGNORE}

    @property
    def channels(self) -> int | None:
        """How many the images have, at full depth; None for RGB of 8 bits."""
        return next(iter(self.datasets.values())).channels

    @property
    def base(self) -> Path:
        """The folder to which the YAML's paths are relative."""
        return self.root if self.root.is_dir() else self.root.parent

    @property
    def colours(self) -> bool:
        return isinstance(next(iter(self.datasets.values())).decode, ColorDecoder)


def open_source(name: str, root: Path, channels: int | None = None) -> Source:
    """Finds the images and masks of every split.

    Args:
        channels: as `data.channels` has it.

    Raises:
        UserError: there is no such data set, its YAML is wrong, or nothing of it is there.
    """
    if name == FOLDER and root.is_dir() and not (root / YAML).is_file():
        return _proposed(root, channels)
    labels = label_space(name, root)
    content = read_yaml(root if root.is_file() else root / YAML, LISTS) if name == FOLDER else {}
    wanted = described_splits(root) if name == FOLDER else ["train", "val"]
    datasets, findings, errors = {}, [], []
    with gathering() as gathered:
        for split in SPLITS:
            try:
                datasets[split] = create_dataset(name, root, split, channels)
            except UserError as error:
                if split in wanted:
                    errors.append(error)
                    findings.append(Finding(FAULT, "split", f"no {split} images can be used: {error}"))
    if not datasets and errors:
        raise errors[0]
    if name == FOLDER:
        findings += _missing(wanted, root)
    return Source(name, root, datasets, labels, gathered, _without_what_is_told(findings, gathered), content)


def _missing(wanted: list[str], root: Path) -> Iterator[Finding]:
    """Splits that a YAML does not name."""
    file = root if root.is_file() else root / YAML
    if "train" not in wanted:
        yield Finding(CAUTION, "split", f"{file} names no `train` images, so nothing can be trained")
    if "val" not in wanted:
        yield Finding(NOTE, "split", f"{file} names no `val` images: {_NO_VAL}")


def _without_what_is_told(findings: list[Finding], gathered: Gathered) -> list[Finding]:
    """Where no image of a split has a mask, that is told with the files' names."""
    unpaired = any(one.images for one in gathered.unpaired)
    return [one for one in findings if not (unpaired and "found no" in one.text)]


def _proposed(root: Path, channels: int | None) -> Source:
    proposal = propose(root)
    file, datasets = root / YAML, {}
    with gathering() as gathered:
        for split in SPLITS:
            if split in proposal.content:
                datasets[split] = described_folder(file, proposal.content, split, channels)
                datasets[split].channels = channels
    labels = next(iter(datasets.values())).labels
    notes = [
        Finding(
            NOTE,
            "proposal",
            f"{file} is not there, so the YAML to use was guessed from what lies in the folder: read it and name the "
            f"classes; `--yaml {file}` writes it",
        )
    ]
    if "val" not in datasets:
        notes.append(Finding(NOTE, "split", f"no images for `val` were found in {root}: {_NO_VAL}"))
    return Source(FOLDER, root, datasets, labels, gathered, notes, proposal.content, proposal.reasons)
