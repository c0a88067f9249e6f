"""The `rtseg` command. `fit`, `validate` and `test` go to LightningCLI, others are in `commands/` and `studies/`.

Each looks at the paths that it is given, and only then imports what it needs: torch takes seconds.
"""

import importlib
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import Device, create_app, lightning_command, plugin_option, run_app
from rtseg.commands import exports, instances, labels, predict, score, stereo, weights
from rtseg.commands.replay import add_replay
from rtseg.configs import COMMANDS, list_configs
from rtseg.errors import UserError
from rtseg.output.folders import check_new_file, check_place
from rtseg.paths import (
    check_exists,
    check_images,
    check_network,
    is_path,
)
from rtseg.registry import UnknownNameError, suggest
from rtseg.studies import commands as studies
from rtseg.terminal import say
from rtseg.training.first_look import look
from rtseg.training.help import PAGES

app = create_app("rtseg", "Real-time semantic segmentation: train, score, time and use RTFormer.")
for _commands in (predict, score, exports, weights, labels):  # `add_typer` would list them behind the commands below
    app.registered_commands += _commands.app.registered_commands


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
Batches = Annotated[
    list[int] | None,
    typer.Option(metavar="N", help="images in a batch; may be repeated; default: that of the exported files, else 1"),
]


@app.command()
def benchmark(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            help="checkpoints, exported files, names of models or rivals; default: rtformer_slim",
        ),
    ] = None,
    attention: Attentions = None,
    backend: Backends = None,
    input_size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="HEIGHT WIDTH", help="image size; default: that of the exported files, else 512 512"),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(metavar="HxW", help="a further image size, such as 1024x2048; may be repeated")
    ] = None,
    batch_size: Batches = None,
    num_classes: Annotated[int, typer.Option(help="classes of the models named")] = 150,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all cores")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE", help="image, folder or glob to run on; may be repeated; default: a drawn texture"
        ),
    ] = None,
    min_parity: Annotated[
        float | None,
        typer.Option(help="time a row only if so many per cent of its pixels equal those of plain PyTorch"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="folder of a data set, to score each row")] = None,
    dataset: Annotated[str, typer.Option(help="name of that data set (rtseg list datasets)")] = "camvid",
    memory: Annotated[bool, typer.Option("--memory", help="measure the memory of each row")] = False,
    protocol: Annotated[str, typer.Option(help="rtseg, or ddrnet to add the measurement of that repository")] = "rtseg",
    seconds: Annotated[float, typer.Option(help="seconds to time each figure, at least")] = 6.0,
    ratios: Annotated[bool, typer.Option("--ratios", help="show ratios even if the machine was busy")] = False,
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
    if data is not None:
        check_exists(data, "Give the folder of a data set.")
    if output is not None and (output.is_dir() or not output.suffix):
        check_place(output)
    elif output is not None:
        check_new_file(output)
    from rtseg.speed.asked import Asked
    from rtseg.speed.command import parse_size, run_benchmark
    from rtseg.speed.conditions import Conditions

    asked = Asked(networks or [], attention or [], backend or [], num_classes, _command_line())
    sizes, batches = asked.own_shapes()
    conditions = Conditions(
        sizes=[*([input_size] if input_size else sizes), *map(parse_size, also or [])],
        batches=batch_size or batches,
        seconds=seconds,
        device=device,
        threads=threads,
        min_parity=min_parity,
    )
    run_benchmark(
        asked,
        conditions,
        images=image or [],
        data=data,
        dataset=dataset,
        memory=memory,
        protocol=protocol,
        output=output,
        ratios=ratios,
    )


add_replay(app, "rtseg.training.module:SegmentationModule")


@app.command("make-data")
def make_data(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the data set")],
    layout: Annotated[str, typer.Option(help="ade20k, cityscapes, camvid, imagenet, coco or sceneflow")] = "camvid",
    number: Annotated[int, typer.Option("-n", "--number", help="training images")] = 200,
    number_val: Annotated[int | None, typer.Option(help="validation images; default: an eighth, at least 10")] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="image size; default: that of the layout")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the random numbers; one seed always draws the same images")] = 0,
) -> None:
    """Draw scenes with exact masks, as data to try out.

    They are streets, single subjects for imagenet, things on a table for coco, stereo pairs for sceneflow.

    The folder has the official layout of a data set.
    """
    check_place(output)
    from rtseg.scenes import make_data as draw

    draw(layout, number, output, n_val=number_val, size=size, seed=seed)


_LISTS = {  # the module with `list_<kind>`
    "models": "rtseg.models",
    "heads": "rtseg.models",
    "attentions": "rtseg.attention",
    "losses": "rtseg.training.losses",
    "datasets": "rtseg.data",
    "backends": "rtseg.deploy.engines",
    "rivals": "rtseg.speed.rivals",
}
# The module with `overview`, a table of the names and of what is on this machine.
_OVERVIEWS = {"weights": "rtseg.studies.listing.weights", "backends": "rtseg.studies.listing.engines"}
_KINDS = "models, places, heads, attentions, losses, datasets, backends, rivals, weights or configs"


@app.command("list")
def list_names(
    kind: Annotated[str | None, typer.Argument(help=_KINDS)] = None,
    network: Annotated[str | None, typer.Argument(help="places: the network, such as timm:resnet50 or psmnet")] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details", help="attentions: options, cost, paper; backends: devices, what to install; weights: addresses"
        ),
    ] = False,
    input_size: Annotated[
        tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="places: image size of the maps")
    ] = (512, 512),
) -> None:
    """List the names that options take.

    `rtseg list places NETWORK` lists the places of a network where attention can be inserted.
    """
    if kind is None:
        raise UserError(f"list what? Give {_KINDS}, as in `rtseg list models`")
    if kind == "places":
        from rtseg.output.table import show
        from rtseg.studies.listing import places

        if network is None:
            raise UserError("places of which network? Give its name, as in `rtseg list places timm:resnet50`")
        show(places.table(network, input_size))
        return
    if network is not None:
        raise UserError(f"'{network}' goes with places alone: rtseg list places {network}")
    if kind == "configs":
        say("\n\n".join(map(_configs_of, COMMANDS)))
        return
    if kind in _OVERVIEWS and not details:
        from rtseg.output.table import show

        found, notes = importlib.import_module(_OVERVIEWS[kind]).overview()
        show(found, notes=notes)
        return
    if kind not in (*_LISTS, "weights"):
        known = suggest(kind, [*_LISTS, "places", "weights", "configs"])
        raise UnknownNameError(f"nothing is called '{kind}' to list.{known}")
    if not details:
        names = getattr(importlib.import_module(_LISTS[kind]), f"list_{kind}")
        say("\n".join(names()))
        if kind == "models":
            from rtseg.models import list_families

            say("\n".join(list_families()))
    else:
        from rtseg.output.table import show
        from rtseg.studies.listing import details as listing

        table, failures = listing(kind)
        show(table, notes=failures)


def _configs_of(command: str) -> str:
    """The configurations of a command below its name, one a line."""
    found = list_configs(COMMANDS[command])
    width = max(map(len, found))
    return "\n".join([f"{command} --config", *(f"{name:{width}}  {text}" for name, text in found.items())])


def _command_line() -> str:
    """What was typed; of absolute paths their last part alone, since results are published."""
    return shlex.join(["rtseg", *(re.sub(r"(^|=)/.*/", r"\1", word) for word in sys.argv[1:])])


app.add_typer(studies.app)
app.add_typer(stereo.app)
app.add_typer(instances.app)
for _name, _help in {
    "fit": "Train a network; --ckpt_path resumes a training.",
    "validate": "Score a checkpoint on the validation images.",
    "test": "Score a checkpoint on the test images.",
}.items():
    lightning_command(app, _name, _help, "rtseg.training.cli", partial(look, pages=PAGES))


plugin_option(app)


def main(args: list[str] | None = None) -> None:
    """The `rtseg` command."""
    run_app(app, args)
