"""`rtseg score`."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.errors import UserError
from rtseg.output.folders import check_new_kind, write_whole
from rtseg.paths import check_exists
from rtseg.terminal import counted, say

app = typer.Typer()


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="folder of class maps, as `rtseg predict` or others write them")],
    masks: Annotated[Path, typer.Argument(help="folder of label masks of the same names")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|YAML", help="the classes: a name of rtseg list datasets, or a folder's dataset.yaml"
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="in place of --data: masks hold 0 to this number less one")
    ] = None,
    ignore: Annotated[
        list[int] | None, typer.Option(help="with --classes: value that does not count; may be repeated; default: 255")
    ] = None,
    class_numbers: Annotated[
        bool, typer.Option("--class-numbers", help="class maps hold 0, 1, 2, ... in place of the data set's ids")
    ] = False,
    boundary: Annotated[
        float | None, typer.Option(metavar="SHARE", help="boundary IoU, so wide: 0.02 of the diagonal in its paper")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help=".png file for the confusion matrix")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".json file for all scores")] = None,
) -> None:
    """Score class maps in files, whoever made them.

    docs/evaluation.md says what each score means.
    """
    for folder in (predictions, masks):
        check_exists(folder, "Give the folder of class maps, then the folder of masks.")
        if not folder.is_dir():
            raise UserError(f"'{folder}' is a file; give the folder of class maps, then the folder of masks")
    if (data is None) == (classes is None):
        raise UserError("which classes? Give --data NAME, --data dataset.yaml, or --classes NUMBER; one of the three")
    if ignore and classes is None:
        raise UserError("--ignore goes with --classes; a data set says itself what does not count")
    check_new_kind("-o", output, ".json")
    check_new_kind("--picture", picture, ".png")
    from rtseg.output.table import show
    from rtseg.scores.boundary import check_width
    from rtseg.scores.files import Classes, find_pairs, score_files

    if boundary is not None:
        check_width("--boundary", boundary)
    space = Classes.of_data(data) if data is not None else Classes.numbered(classes or 0, ignore or (255,))
    pairs = find_pairs(predictions, masks)
    found = score_files(pairs, space, boundary=boundary, class_numbers=class_numbers)
    show(found.table(), notes=[*found.notes(), *pairs.notes()])
    if output is not None:
        write_whole(output.expanduser(), found.json())
    if picture is not None:
        from rtseg.scores.picture import png

        write_whole(picture.expanduser(), png(found))
    say(f"{counted(len(pairs.pairs), 'class map')} scored.")
