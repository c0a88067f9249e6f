"""Looking at all files of a data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.findings.decoder_words import listening
from rtseg.data.findings.image_look import look_at_pixels
from rtseg.data.findings.looking import Job, look_at_files
from rtseg.data.findings.looks import ImageLook, MaskLook, Seen, Split
from rtseg.data.findings.mask_look import look_at_numbers
from rtseg.deploy.device import available_cores
from rtseg.errors import UserError
from rtseg.studies.check_data.record import Record
from rtseg.studies.check_data.source import Source
from rtseg.terminal import Console


def look(source: Source, count: Callable[[int, int], None]) -> Seen:
    """Looks at every image and mask once.

    Args:
        count: is told how many files are done, and of how many.

    """
    splits = source.datasets
    if source.meanings is None:
        looks = _own_looks(splits, count)
        meanings, colours = source.own_meanings, False
    else:
        looks, meanings, colours = _file_looks(source, count), source.meanings, source.colours
    return Seen(
        source.root,
        [
            Split(
                name,
                dataset.pairs,
                [looks[Job("image", Path(image))] for image, _ in dataset.pairs],  # type: ignore[misc]
                [looks[Job("mask", Path(mask))] for _, mask in dataset.pairs],  # type: ignore[misc]
                len(dataset),
            )
            for name, dataset in splits.items()
        ],
        source.labels,
        meanings,
        colours,
        source.gathered.searches,
        source.gathered.unpaired,
        source.channels,
    )


def _file_looks(source: Source, count: Callable[[int, int], None]) -> dict[Job, ImageLook | MaskLook]:
    jobs = dict.fromkeys(
        Job(what, path)
        for dataset in source.datasets.values()
        for pair in dataset.pairs
        for what, path in zip(("image", "mask"), pair, strict=True)
    )
    with Record(source.root, source.name, source.channels) as record:
        looks = {job: known for job in jobs if (known := record.look(job))}
        todo = [job for job in jobs if job not in looks]
        count(len(looks), len(jobs))
        if not todo:
            return looks
        with listening() as (words, terminal), _bar(terminal) as bar:
            task = bar.add_task("look", total=len(jobs), completed=len(looks))
            for job, found in look_at_files(todo, available_cores(), words, source.channels):
                looks[job] = found
                record.keep(job, found)
                count(len(looks), len(jobs))
                bar.update(task, advance=1)
    return looks


def _own_looks(
    splits: dict[str, SegmentationDataset], count: Callable[[int, int], None]
) -> dict[Job, ImageLook | MaskLook]:
    """The looks at a data set that reads its files in a way of its own."""
    looks: dict[Job, ImageLook | MaskLook] = {}
    total = sum(map(len, splits.values()))
    with _bar(2) as bar:
        task = bar.add_task("look", total=total)
        for dataset in splits.values():
            for index, (image, mask) in enumerate(dataset.pairs):
                try:
                    sample = dataset[index]
                    found = look_at_pixels(sample.image), look_at_numbers(sample.mask)
                except UserError as error:
                    found = ImageLook(fault=str(error)), MaskLook(fault=str(error))
                looks[Job("image", Path(image))], looks[Job("mask", Path(mask))] = found
                count(len(looks) // 2, total)
                bar.update(task, advance=1)
    return looks


@contextmanager
def _bar(terminal: int) -> Iterator[Progress]:
    """A bar on the descriptor `terminal`, where that is one."""
    columns = (TextColumn("look at files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with open(terminal, "w", encoding="utf-8", closefd=False) as stream:
        console = Console(file=stream)
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            yield bar
