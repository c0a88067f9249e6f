"""`rtseg stereo`: trains, scores and uses networks that see depth in two images."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import Device, create_app, lightning_command
from rtseg.commands.compare import add_compare
from rtseg.commands.replay import add_replay
from rtseg.configs import CONFIGS
from rtseg.output.folders import check_results
from rtseg.paths import check_alike, check_exists, check_network
from rtseg.studies.runs.task import STEREO
from rtseg.tasks.stereo.help import PAGES
from rtseg.terminal import say
from rtseg.training.first_look import look

app = create_app("stereo", "Depth from two images: train, score and use PSMNet.")
_look = partial(look, pages=PAGES, shipped=CONFIGS / "stereo")
lightning_command(app, "fit", "Train PSMNet; --ckpt_path resumes a training.", "rtseg.tasks.stereo.cli", _look)
lightning_command(app, "validate", "Score a checkpoint: end-point errors.", "rtseg.tasks.stereo.cli", _look)


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(help=".ckpt of `rtseg stereo fit`, or folder with model.safetensors")],
    left: Annotated[Path, typer.Argument(help="left image, or folder of left images")],
    right: Annotated[Path, typer.Argument(help="right image, or folder of right images of the same names")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the results")],
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Write the disparity of each pixel of left images.

    NAME.png has 16 bits, in steps of 1/256 pixel as KITTI's; NAME_colour.png is for the eye: near things are red.
    """
    check_network(checkpoint)
    check_exists(left, "Give the left image, or a folder.")
    check_exists(right, "Give the right image, or a folder.")
    check_alike(left, right)
    check_results(output, overwrite)
    from rtseg.tasks.stereo.predict import predict_files

    say(predict_files(checkpoint, left, right, output, device=device, overwrite=overwrite))


add_compare(app, STEREO)
add_replay(app, "rtseg.tasks.stereo.module:StereoModule")
