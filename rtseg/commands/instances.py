"""`rtseg instances ...`: the segmentation of instances."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import Device, create_app, lightning_command, resumable
from rtseg.commands.compare import add_compare
from rtseg.commands.replay import add_replay
from rtseg.configs import CONFIGS
from rtseg.output.folders import check_results
from rtseg.paths import OTHER_LIBRARIES, check_any_image, check_file
from rtseg.studies.runs.task import INSTANCES
from rtseg.tasks.instances import COCO, IMAGENET
from rtseg.tasks.instances.help import PAGES
from rtseg.training.first_look import look

app = create_app("instances", "Segment instances: train, score and use Mask R-CNN with attention at any level.")


def _check_weights(source: str) -> None:
    """Raises: UserError where it is neither a name nor a file."""
    if source not in (IMAGENET, COCO) and not source.startswith(OTHER_LIBRARIES):
        check_file(source, f"Give a file as --model.weights, or {IMAGENET} or {COCO} for what is published.")


_look = partial(look, pages=PAGES, shipped=CONFIGS / "instances", check_weights=_check_weights)
for _name, _help in {
    "fit": "Train a network; --ckpt_path resumes a training.",
    "validate": "Score a checkpoint on the validation images.",
}.items():
    lightning_command(app, _name, _help, "rtseg.tasks.instances.cli", _look)


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(help=".ckpt of rtseg instances fit")],
    sources: Annotated[list[str], typer.Argument(help="images, folders or globs")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the results")],
    min_score: Annotated[float, typer.Option(help="least score of an object, from 0 to 1")] = 0.5,
    no_overlay: Annotated[bool, typer.Option("--no-overlay", help="write predictions.json alone")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
    device: Device = None,
) -> None:
    """Find objects in images: overlays with masks, boxes, names and scores, and one file in COCO's format."""
    check_file(checkpoint, "Give a checkpoint of rtseg instances fit.")
    check_any_image(sources)
    check_results(output, overwrite)
    from rtseg.tasks.instances.predict import predict as find

    with resumable("The same command with --overwrite starts again."):
        failed = find(
            checkpoint, sources, output.expanduser(), min_score=min_score, overlays=not no_overlay, device=device
        )
    if failed:
        raise typer.Exit(1)


add_compare(app, INSTANCES)
add_replay(app, "rtseg.tasks.instances.module:InstanceModule")
