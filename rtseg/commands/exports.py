"""`rtseg export` and `rtseg verify`: files that run elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.errors import UserError
from rtseg.output.folders import check_new_file
from rtseg.paths import check_exists, check_file, check_network
from rtseg.terminal import say

app = typer.Typer()


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(help=".ckpt, folder with model.safetensors, name of rtseg list weights, or Hugging Face id")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=".onnx, .xml (OpenVINO), .mnn or .pt2 (PyTorch) file")
    ] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="image size; default: that of the training")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="images in a batch; default: 1")] = None,
    open_size: Annotated[bool, typer.Option("--open-size", help="take images of any size, and any number")] = False,
    result: Annotated[
        str,
        typer.Option(
            metavar="logits|class_map|class_map_margin",
            help="logits: the fastest, to be upsampled by the reader. class_map: class numbers at the image's size, "
            "nothing is left to do. class_map_margin: also each pixel's best minus second logit",
        ),
    ] = "logits",
    class_map: Annotated[bool, typer.Option("--class-map", help="the same as --result class_map")] = False,
    image: Annotated[Path | None, typer.Option(help="image to prove the file with; default: a drawn street")] = None,
    lint: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="list the operators that tensorrt or webgpu does not take; needs no -o"),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="8 bits, as .onnx or .xml (OpenVINO); needs --data")] = False,
    data: Annotated[Path | None, typer.Option(help="int8: folder of a data set, to take ranges from and score")] = None,
    dataset: Annotated[str | None, typer.Option(help="int8: its kind; default: that of the training")] = None,
    max_drop: Annotated[float, typer.Option(help="int8: points of mIoU, of 100, that may be lost")] = 0.5,
    max_images: Annotated[int, typer.Option(help="int8: training images, and validation images, at most")] = 100,
) -> None:
    """Write a network as a file that runs elsewhere, and proves that it is right.

    The file takes uint8 images and gives logits. BatchNorm is folded into the convolutions. With --int8 the exit status
    is 1, and nothing is written, where 8 bits lose more than allowed or are not faster here.
    """
    shape = _shape(input_size, batch_size, open_size)
    if output is None and lint is None:
        raise UserError("export to where? Give -o net.onnx, or --lint TARGET")
    check_network(checkpoint)
    if output is not None:
        check_new_file(output)
    if image is not None:
        check_file(image, "Give an image, or leave --image out.")
    if int8 and output is None:
        raise UserError("--int8 writes a file: give -o net.xml or -o net.onnx")
    if int8 != (data is not None):
        raise UserError("--int8 and --data belong together: ranges and mIoU come from the images of a data set")
    if data is not None:
        check_exists(data, "Give the folder of a data set.")
    from rtseg.deploy.exports.command import export_file
    from rtseg.deploy.exports.int8 import Int8
    from rtseg.deploy.exports.lint import lint_network
    from rtseg.deploy.exports.scores import NotWorthError

    result = "class_map" if class_map else result
    asked = None if data is None else Int8(data, dataset, max_drop, max_images)
    if output is not None:
        try:
            export_file(checkpoint, output, shape, result, image, asked)
        except NotWorthError as refused:
            say(f"Nothing was written: {refused}", stderr=True)
            raise typer.Exit(1) from None
    if lint is not None and not lint_network(checkpoint, lint, shape, result):
        raise typer.Exit(1)


def _shape(
    size: tuple[int, int] | None, batch: int | None, open_size: bool
) -> tuple[int | None, int | None, int | None] | int:
    """(batch, height, width), each None where it is open; the batch alone where the network decides on the size.

    Raises:
        UserError: one is given, and all are open.
    """
    if open_size and (size is not None or batch is not None):
        raise UserError("--open-size takes any size and batch: leave out --input-size and --batch-size, or it")
    if open_size:
        return None, None, None
    batch = 1 if batch is None else batch
    return batch if size is None else (batch, *size)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="file of `rtseg export`")],
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="engine to run it on; default: all that are here and read it")
    ] = None,
) -> None:
    """Check that an exported file is whole, and right on this machine.

    The file carries an image and the class map of plain PyTorch. Each engine runs the image, and most pixels must be
    equal. The exit status is 1 where they are not, and 2 where the file is damaged, missing or no export.
    """
    check_file(file, "Give a file of `rtseg export`.")
    from rtseg.deploy.exports.verify import verify_file

    if not verify_file(file, engine):
        raise typer.Exit(1)
