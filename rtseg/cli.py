"""The `rtseg` command. `fit`, `validate` and `test` go to LightningCLI, others are in `commands/` and `studies/`.

Each looks at the paths that it is given, and only then imports what it needs: torch takes seconds.
"""

import importlib
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import create_app, lightning_command, plugin_option, run_app
from rtseg.commands import benchmark, exports, instances, labels, page, predict, score, serve, stereo, weights
from rtseg.commands.replay import add_replay
from rtseg.configs import COMMANDS, list_configs
from rtseg.errors import UserError
from rtseg.output.folders import check_place
from rtseg.registry import UnknownNameError, suggest
from rtseg.studies import commands as studies
from rtseg.terminal import say
from rtseg.training.first_look import look
from rtseg.training.help import PAGES

app = create_app("rtseg", "Real-time semantic segmentation: train, score, time and use RTFormer.")
for _commands in (
    predict,
    score,
    exports,
    page,
    weights,
    labels,
    benchmark,
    serve,
):  # `add_typer` would list them behind the commands below
    app.registered_commands += _commands.app.registered_commands


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
