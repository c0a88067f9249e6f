"""What `rtseg convert-labels` shows: a progress bar, and one summary at the end."""

import shlex
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg.data.dataset import IGNORE
from rtseg.data.folder import pixel_share
from rtseg.data.labels.convert import SPLITS, Choices, Summary, convert
from rtseg.data.labels.source import CLIPPED, CROSSED, EMPTY, OVERLAPPED, TURNED
from rtseg.output.table import Column, Table, show
from rtseg.terminal import Console, counted, say

# What was counted -> the noun and the sentence, for one and for many.
_SAID = {
    OVERLAPPED: ("pixel", "lies", "lie", "in objects of two classes: the {above} has them"),
    CLIPPED: ("shape", "reaches", "reach", "over the image, and was cut off at its edge"),
    CROSSED: (
        "outline",
        "crosses itself",
        "cross themselves",
        "and where its parts lie over each other the pixels are outside",
    ),
    EMPTY: ("object", "covers", "cover", "no pixel"),
    TURNED: ("mask", "was", "were", "drawn before EXIF turns the image, and turned with it"),
}


def convert_and_say(path: Path, output: Path, choices: Choices) -> None:
    """Raises: UserError, see `convert`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("convert", total=None)
        summary = convert(path, output, choices, lambda done, total: bar.update(task, completed=done, total=total))
    _say(summary, output, choices)


def _say(summary: Summary, output: Path, choices: Choices) -> None:
    source, total = summary.source, sum(summary.pixels.values())
    parts = ", ".join(f"{summary.images[name]} {name}" for name in SPLITS if summary.images[name])
    show(_classes(summary, total))
    say(f"{source.format}: {counted(sum(summary.images.values()), 'image')} ({parts}) in '{output}'")
    for line in filter(None, (summary.divided, *source.notes)):
        say(line)
    for key, (noun, one, many, rest) in _SAID.items():
        if number := summary.counts[key]:
            said = rest.format(above=source.above)
            say(f"{number:,} {noun}{'s' * (number != 1)} {one if number == 1 else many} {said}")
    if summary.unlabelled:
        became = "the class `background`" if choices.unlabelled == "background" else "255, ignored"
        say(f"Unlabelled: {pixel_share(summary.unlabelled, total)} of the pixels became {became}")
    if summary.faults.found:
        say(f"Left out:{summary.faults}")
    if choices.broken == "skip" and (lost := [n for k, n in enumerate(summary.names) if not summary.pixels[k]]):
        say(f"In no image: {', '.join(lost)}. What was left out may have held them; they stay classes of the network.")
    if not summary.images["train"]:
        repair = "give more images, or --val 0" if summary.divided else "give images of a part `train`"
        say(f"No image is for training, so nothing can be trained on this folder: {repair}.")
        return
    say(f"Look at it, and train: rtseg fit --auto --config rtformer_slim_folder --data.root {shlex.quote(str(output))}")


def _classes(summary: Summary, total: int) -> Table:
    """Each class with its share of the pixels, and what is ignored."""
    rows: list[tuple[int, str, str]] = [
        (k, name, pixel_share(summary.pixels[k], total) if summary.pixels[k] else "in no image")
        for k, name in enumerate(summary.names)
    ]
    if summary.pixels[IGNORE]:
        rows.append((IGNORE, "(ignored)", pixel_share(summary.pixels[IGNORE], total)))
    columns = (Column("number"), Column("class", left=True), Column("share of the pixels"))
    return Table("Classes", columns, rows)
