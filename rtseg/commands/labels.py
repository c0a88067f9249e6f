"""`rtseg convert-labels`: the files of a label tool as a folder to train on."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.checks import check_one_of
from rtseg.command_line import resumable
from rtseg.output.folders import check_empty, check_place
from rtseg.paths import check_exists

app = typer.Typer()


@app.command("convert-labels")
def convert_labels(
    source: Annotated[Path, typer.Argument(help="file, folder or .zip of the label tool")],
    output: Annotated[Path, typer.Option("-o", "--output", help="new folder: images, masks and dataset.yaml")],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="coco, yolo, labelme, cvat, voc, mapillary, roboflow or huggingface; default: what it looks like",
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="background|ignore",
            help="pixels that nobody labelled: a class of their own, or left out of training and scores",
        ),
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(help="share of images for validation, by a hash of their names; default: the source's, or 0.2"),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="folder of the images; default: where the source says")] = None,
    broken: Annotated[
        str, typer.Option(metavar="refuse|skip", help="what cannot be used: stop, or leave it out and count it")
    ] = "refuse",
    link: Annotated[
        bool, typer.Option("--link", help="link to the images; default: copy them, so that the folder stays whole")
    ] = False,
) -> None:
    """Convert the files of a label tool to images, masks and dataset.yaml, ready to train on."""
    check_one_of("--broken", broken, ("refuse", "skip"))
    if unlabelled is not None:
        check_one_of("--unlabelled", unlabelled, ("background", "ignore"))
    check_exists(source, "Give a file, a folder or a .zip of a label tool.")
    if images is not None:
        check_exists(images, "Give the folder of the images.")
    check_place(output.expanduser())
    check_empty(output.expanduser(), "give another folder, or remove it")
    from rtseg.data.labels.command import convert_and_say
    from rtseg.data.labels.convert import Choices

    choices = Choices(format, images, unlabelled, val, broken, link)  # type: ignore[arg-type]  # checked above
    with resumable("Nothing is written; the same command starts again."):
        convert_and_say(source.expanduser(), output.expanduser(), choices)
