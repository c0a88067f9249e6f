"""`rtseg benchmark`."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rtseg.command_line import Device
from rtseg.errors import UserError
from rtseg.output.folders import check_new_file, check_place
from rtseg.paths import check_exists, check_images, check_network, is_path

app = typer.Typer()

Networks = Annotated[
    list[str] | None,
    typer.Argument(help="checkpoints, exported files, names of models or rivals; default: rtformer_slim"),
]
Attentions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="attention of the models named, such as gfa+ca; may be repeated"),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="engine, such as openvino:bf16; may be repeated; default: all of this machine (rtseg list backends)",
    ),
]
Size = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="HEIGHT WIDTH", help="image size; default: that of the exported files, else 512 512"),
]
MoreSizes = Annotated[
    list[str] | None, typer.Option(metavar="HxW", help="a further image size, such as 1024x2048; may be repeated")
]
Batches = Annotated[
    list[int] | None,
    typer.Option(metavar="N", help="images in a batch; may be repeated; default: that of the exported files, else 1"),
]
Images = Annotated[
    list[str] | None,
    typer.Option(metavar="IMAGE", help="image, folder or glob to run on; may be repeated; default: a drawn texture"),
]
Parity = Annotated[
    float | None,
    typer.Option(help="time a row only if so many per cent of its pixels equal those of plain PyTorch"),
]
Stream = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="folder of a data set (--dataset) whose validation images are a film's frames: score each class map "
        "against the frame that is current when it is ready",
    ),
]
Rates = Annotated[
    list[float] | None,
    typer.Option(metavar="N", help="frames a second of --stream; may be repeated; default: 15"),
]

Classes = Annotated[int | None, typer.Option(help="classes of the models named; default: 150")]
Protocol = Annotated[
    str | None, typer.Option(help="ddrnet to add the measurement of that repository; default: rtseg's alone")
]
Seconds = Annotated[float | None, typer.Option(help="seconds to time each figure, at least; default: 6")]
Steady = Annotated[
    bool, typer.Option("--steady", help="score the steady class maps of --stream, too (predict --steady)")
]


@app.command()
def benchmark(
    networks: Networks = None,
    attention: Attentions = None,
    backend: Backends = None,
    input_size: Size = None,
    also: MoreSizes = None,
    batch_size: Batches = None,
    num_classes: Classes = None,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all cores")] = None,
    image: Images = None,
    min_parity: Parity = None,
    data: Annotated[Path | None, typer.Option(help="folder of a data set, to score each row")] = None,
    dataset: Annotated[str, typer.Option(help="name of that data set (rtseg list datasets)")] = "camvid",
    memory: Annotated[bool, typer.Option("--memory", help="measure the memory of each row")] = False,
    protocol: Protocol = None,
    seconds: Seconds = None,
    ratios: Annotated[bool, typer.Option("--ratios", help="show ratios even if the machine was busy")] = False,
    stream: Stream = None,
    fps: Rates = None,
    steady: Steady = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".json file, or folder, for the result")] = None,
) -> None:
    """Time networks from image to class map on every engine.

    Each engine is first compared with plain PyTorch. The table of speeds comes last. In a pipe, the output is one
    line of JSON, and the tables go to the standard error.
    """
    for name in networks or []:
        if is_path(name):
            check_network(name)
    check_images(image or [])
    for folder in (data, stream):
        if folder is not None:
            check_exists(folder, "Give the folder of a data set.")
    if stream is not None:
        _check_stream({"data": data, "image": image, "input-size": input_size, "also": also, "batch-size": batch_size})
        _check_stream({"memory": memory, "min-parity": min_parity, "ratios": ratios, "protocol": protocol})
        _check_stream({"seconds": seconds, "num-classes": num_classes})
    elif fps or steady:
        raise UserError(f"--{'fps' if fps else 'steady'} is of a stream: give its folder, too, with --stream")
    if output is not None and (output.is_dir() or not output.suffix):
        check_place(output)
    elif output is not None:
        check_new_file(output)
    from rtseg.speed.asked import Asked
    from rtseg.speed.command import parse_size, run_benchmark
    from rtseg.speed.conditions import Conditions

    asked = Asked(
        networks or [], attention or [], backend or [], 150 if num_classes is None else num_classes, _command_line()
    )
    sizes, batches = asked.own_shapes()
    conditions = Conditions(
        sizes=[*([input_size] if input_size else sizes), *map(parse_size, also or [])],
        batches=batch_size or batches,
        seconds=6.0 if seconds is None else seconds,
        device=device,
        threads=threads,
        min_parity=min_parity,
    )
    if stream is not None:
        from rtseg.speed.stream_command import run_stream

        return run_stream(asked, conditions, stream, dataset, fps or [15.0], output, steady=steady)
    run_benchmark(
        asked,
        conditions,
        images=image or [],
        data=data,
        dataset=dataset,
        memory=memory,
        protocol=protocol or "rtseg",
        output=output,
        ratios=ratios,
    )


def _check_stream(others: dict[str, Any]) -> None:
    """Raises: UserError where an option of the usual measurement is given, too."""
    for option, value in others.items():
        if not (value is None or value is False or value == []):
            raise UserError(f"--{option} does not go with --stream, which takes the frames one by one as they are")


def _command_line() -> str:
    """What was typed; of absolute paths their last part alone, since results are published."""
    return shlex.join(["rtseg", *(re.sub(r"(^|=)/.*/", r"\1", word) for word in sys.argv[1:])])
