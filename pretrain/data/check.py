"""Checks a whole data set before a training: counts classes and images, and decodes every file."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.progress import Progress

from pretrain.data.class_folders import SPLITS, class_differences, class_folders, image_names
from pretrain.data.image_files import BrokenImage, decode, open_image
from pretrain.data.shard_index import ShardIndex, find_index
from pretrain.data.shard_tar import tar_images
from pretrain.data.store import CutShard, join
from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_target
from rtseg.terminal import Console

FATAL = ("broken", "not an image", "animated", "broken shard")
HARMLESS = {
    "greyscale": "converted to RGB",
    "CMYK": "converted to RGB",
    "other files": "their endings are not those of images; left out",
}
_CHUNK = 64  # files that a process takes at a time
_SHOWN = 20
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Finding(NamedTuple):
    """Something about one file: one of `FATAL` or `HARMLESS`, and what is wrong."""

    kind: str
    name: str
    reason: str = ""


@dataclass
class Report:
    """What a data set holds.

    Attributes:
        root: folder or URL.
        images: split -> class -> images, broken ones included.
        findings: about single files.
        problems: of the whole, in words: missing splits, empty or unlike classes, another number than is asked for.
    """

    root: str
    images: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def bad_files(self) -> list[Finding]:
        """Those that a training ends at, or skips."""
        return [finding for finding in self.findings if finding.kind in FATAL]

    @property
    def fails(self) -> bool:
        """Whether a training would."""
        return bool(self.problems or self.bad_files)


def check_data(root: str, *, num_classes: int | None = None, workers: int | None = None) -> Report:
    """Reads and decodes everything.

    Args:
        root: as `ImageNetData` takes it: class folders, or folder or URL of shards.
        num_classes: that each split must have; None: any.
        workers: processes; by default as many as there are cores, 1 reads in this one.

    Raises:
        UserError: there is nothing to look through.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    check_at_least("workers", workers, 1)
    index = find_index(root)
    report = _check_folders(Path(root), workers) if index is None else _check_shards(index, workers)
    report.findings.sort()
    _check_classes(report, num_classes)
    return report


def _check_classes(report: Report, num_classes: int | None) -> None:
    for split in SPLITS:
        classes = report.images.get(split)
        if not classes:
            report.problems.append(f"{split}: no class folders" if classes == {} else f"there is no {split}")
            continue
        empty = [name for name, images in classes.items() if not images]
        if empty:
            report.problems.append(f"{split}: {len(empty)} classes without images: {', '.join(empty[:_SHOWN])}")
        if num_classes not in (None, len(classes)):
            report.problems.append(
                f"{split} has {len(classes)} classes, --num-classes asks for {num_classes}: add the missing classes or "
                f"remove those that are too many, or give --num-classes {len(classes)}"
            )
    if differences := class_differences({split: tuple(classes) for split, classes in report.images.items()}):
        report.problems.append(f"train and val do not have the same classes: {differences}")


def _check_folders(root: Path, workers: int) -> Report:
    report = Report(str(root))
    files: list[str] = []
    for split, classes in class_folders(root).items():
        report.images[split] = {}
        for name in classes:
            folder = root / split / name
            images = image_names(folder)
            report.images[split][name] = len(images)
            files += (str(folder / image) for image in images)
            others = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")} - {*images}
            report.findings += (Finding("other files", str(folder / other)) for other in others)
    chunks = [files[first : first + _CHUNK] for first in range(0, len(files), _CHUNK)]
    for found in _in_processes(_check_files, chunks, workers, len(files), len):
        report.findings += found
    return report


def _check_files(files: Sequence[str]) -> list[Finding]:
    found = []
    for file in files:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            found.append(Finding("broken", file, f"cannot be read ({error.strerror})"))
        else:
            found += _check_image(file, data)
    return found


def _check_image(name: str, data: bytes) -> Iterator[Finding]:
    try:
        mode = open_image(data).mode
        decode(data)
    except BrokenImage as error:
        yield Finding(error.kind, name, str(error))
        return
    if mode == "CMYK":
        yield Finding("CMYK", name)
    elif mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"):
        yield Finding("greyscale", name)


def _check_shards(index: ShardIndex, workers: int) -> Report:
    report = Report(index.root)
    jobs = [
        (split, join(index.root, name), count) for split in index.splits for name, count in index.shards(split).items()
    ]
    check = partial(_check_shard, len(index.classes))
    results = _in_processes(check, jobs, workers, sum(index.size(split) for split in index.splits), lambda job: job[2])
    totals = {split: Counter[int]() for split in index.splits}
    for (split, _, _), (labels, found) in zip(jobs, results, strict=True):
        totals[split] += labels
        report.findings += found
    for split, counts in totals.items():
        report.images[split] = {name: counts[number] for number, name in enumerate(index.classes)}
    return report


def _check_shard(num_classes: int, job: tuple[str, str, int]) -> tuple[Counter[int], list[Finding]]:
    _, url, count = job
    labels: Counter[int] = Counter()
    found: list[Finding] = []
    problem = ""
    try:
        for raw in tar_images(url):
            assert raw is not None  # all are wanted
            labels[raw.label] += 1
            found += _check_image(raw.name, raw.data)
    except FileNotFoundError:
        problem = "there is no such file"
    except (CutShard, UserError) as error:
        problem = str(error)
    if labels.total() != count or problem:
        counts = f"{labels.total()} images, {count} in the index"
        found.append(Finding("broken shard", url, f"{counts}; {problem}" if problem else counts))
    if labels and max(labels) >= num_classes:
        found.append(Finding("broken shard", url, f"class {max(labels)}, but the index names {num_classes}"))
    return labels, found


def _in_processes(
    work: Callable[[_Job], _Result], jobs: Sequence[_Job], workers: int, total: int, size: Callable[[_Job], int]
) -> Iterator[_Result]:
    """_Results in the order of the jobs, with a progress bar over the images of all."""
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True)) as progress:
        task = progress.add_task("checking", total=total)
        pool = ProcessPoolExecutor(workers) if workers > 1 else None
        try:
            results: Iterable[_Result] = pool.map(work, jobs) if pool else map(work, jobs)
            for job, result in zip(jobs, results, strict=True):
                progress.advance(task, size(job))
                yield result
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)


def describe(report: Report) -> str:
    """The report for people: what there is, every kind of finding with its first files, and the verdict."""
    lines = [report.root]
    for split, classes in report.images.items():
        if classes:
            few, many = min(classes.values()), max(classes.values())
            lines.append(
                f"  {split}: {sum(classes.values())} images in {len(classes)} classes, {few} to {many} in each"
            )
    lines += report.problems
    for kind in (*FATAL, *HARMLESS):
        if found := report.of(kind):
            lines.append(f"{kind}: {len(found)}" + (f" ({HARMLESS[kind]})" if kind in HARMLESS else ""))
            lines += (f"  {name}" + f": {reason}" * bool(reason) for _, name, reason in found[:_SHOWN])
            lines += [f"  and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
    if not report.fails:
        lines.append("A training can read all of this.")
    elif report.problems:
        lines.append(f"A training would fail: {report.problems[0]}")
    else:
        lines.append("A training would fail: replace or remove these files, or train with --data.broken=skip")
    return "\n".join(lines)


def write_list(report: Report, file: Path) -> None:
    """The files that a training would fail at, one in a line."""
    with locked_target(file):
        write_whole(file, "".join(f"{finding.name}\n" for finding in report.bad_files))
