"""`rtseg page`: a network for people who have a browser and no terminal."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.output.folders import check_empty, check_place
from rtseg.paths import check_exists, check_file, check_network

app = typer.Typer()


@app.command()
def page(
    network: Annotated[
        str,
        typer.Argument(
            help=".ckpt, folder with model.safetensors, name of rtseg list weights, Hugging Face id, or .onnx file of "
            "rtseg export"
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the page")],
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="HEIGHT WIDTH", help="resize each image to it; default: as rtseg predict does"),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(help="folder of onnxruntime-web to copy; default: the browser fetches it from a CDN"),
    ] = None,
    example: Annotated[
        Path | None, typer.Option(help="image behind the button Use the example; default: a drawn street")
    ] = None,
) -> None:
    """Write a static page that runs the network in its visitor's browser.

    Any web server gives it out. Images stay in the browser. Without --runtime the visitor needs the internet.
    """
    output = output.expanduser()
    check_place(output)
    check_empty(output, "give another folder, or remove it")
    if runtime is not None:
        check_exists(runtime, "Give the folder of onnxruntime-web, or leave --runtime out.")
    if example is not None:
        check_file(example, "Give an image, or leave --example out.")
    check_network(network)
    from rtseg.page.network import check_given
    from rtseg.page.write import write_page

    check_given(network)
    write_page(network, output, size=size, runtime=runtime, example=example)
