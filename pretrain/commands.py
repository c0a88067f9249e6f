"""The `python -m pretrain` command. `fit` and `validate` go to LightningCLI, everything else is here.

Each looks at the paths that it is given, and only then imports what it needs: torch takes seconds.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pretrain.help import PAGES
from rtseg.command_line import create_app, lightning_command, plugin_option, run_app
from rtseg.commands.replay import add_replay
from rtseg.configs import find_config
from rtseg.paths import check_exists, check_file
from rtseg.terminal import say
from rtseg.training.first_look import look

if TYPE_CHECKING:
    from pretrain.data.shard_index import ShardIndex

app = create_app("python -m pretrain", "Pre-train backbones on ImageNet and export them for rtseg.")
plugin_option(app)
_look = partial(look, pages=PAGES, shipped=Path(__file__).with_name("configs"))
lightning_command(
    app,
    "fit",
    "Train a classifier; --ckpt_path resumes a training.",
    "pretrain.cli",
    _look,
)
lightning_command(
    app,
    "validate",
    "Score a checkpoint: top-1 and top-5.",
    "pretrain.cli",
    _look,
)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="best.ckpt or last.ckpt of `fit`")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Write the backbone of a classifier as a folder.

    `rtseg fit --model.weights=FOLDER` starts from it.
    """
    check_file(checkpoint, "Give the best.ckpt or last.ckpt of a training.")
    from pretrain.export import export as write

    say("\n".join(write(checkpoint, output, overwrite=overwrite)))


add_replay(app, "pretrain.module:ClassificationModule")


@app.command("list")
def list_networks() -> None:
    """List the networks that --model.name takes.

    `export` cannot write those that are marked "classifies only".
    """
    from pretrain.networks.classifier import list_classifiers
    from rtseg.models import list_models

    for name in list_classifiers():
        say(f"{name:16} {'' if name in list_models() else 'classifies only'}".rstrip())


@app.command("check-data")
def check_data(
    root: Annotated[str, typer.Argument(help="folder of train/ and val/, or folder or URL of shards")],
    num_classes: Annotated[int | None, typer.Option(help="classes that the data must have; ImageNet: 1000")] = None,
    workers: Annotated[int | None, typer.Option(help="processes; default: all cores")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="text file for the names of the bad files")
    ] = None,
) -> None:
    """Check every image before a training.

    It counts classes and images, decodes every file, and names what would stop or mislead a training.
    """
    _check_root(root)
    from pretrain.data.check import check_data as check
    from pretrain.data.check import describe, write_list

    report = check(root, num_classes=num_classes, workers=workers)
    say(describe(report))
    if output is not None:
        write_list(report, output)
    if report.fails:
        raise typer.Exit(1)


@app.command("make-shards")
def make_shards(
    root: Annotated[Path, typer.Argument(help="folder of train/<class>/*.JPEG and val/<class>/*.JPEG")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the shards and index.json")],
    per_shard: Annotated[int, typer.Option(help="images in a shard; 1000 of ImageNet take 110 MB")] = 1000,
    workers: Annotated[int | None, typer.Option(help="processes; default: all cores")] = None,
) -> None:
    """Pack class folders into WebDataset shards, byte for byte."""
    check_exists(root, "Give the folder that holds train/ and val/.")
    from pretrain.data.make_shards import write_shards

    _print_shards(write_shards(root, output, per_shard=per_shard, workers=workers))


@app.command("index-shards")
def index_shards(
    root: Annotated[str, typer.Argument(help="folder or URL of shards that contain <key>.jpg and <key>.cls")],
    train: Annotated[str, typer.Option(help="pattern of the training shards' names")] = "*train*.tar",
    val: Annotated[str, typer.Option(help="pattern of the validation shards' names")] = "*val*.tar",
    classes: Annotated[
        Path | None, typer.Option(help="text file with the name of a class on each line; default: numbers")
    ] = None,
) -> None:
    """Write the index.json that a training needs beside shards.

    It counts the images of shards that another program wrote.
    """
    _check_root(root)
    if classes is not None:
        check_file(classes, "Give a text file with a class name on each line as --classes.")
    from pretrain.data.make_shards import index_shards as count
    from pretrain.data.make_shards import write_index

    names = classes.read_text().splitlines() if classes is not None else []
    index = count(root, {"train": train, "val": val}, classes=[name.strip() for name in names if name.strip()])
    write_index(index)
    _print_shards(index)


def _print_shards(index: "ShardIndex") -> None:
    for split, shards in index.splits.items():
        say(f"{split}: {sum(shards.values())} images in {len(shards)} shards")


@app.command()
def table2(
    networks: Annotated[list[str] | None, typer.Argument(help="default: every row of the paper's Table 2")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default: a GPU where there is one")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all cores")] = None,
    seconds: Annotated[float, typer.Option(help="seconds to time each figure, at least")] = 6.0,
    batch_size: Annotated[
        int | None, typer.Option(help="images in a batch of the throughput; default: 16, on CUDA 64")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".json file for the result")] = None,
) -> None:
    """Count and time the networks of RTFormer's Table 2.

    Parameters and multiply-adds are those at 224x224. The figures of the paper stand beside those of this machine.
    """
    from pretrain.table2 import table2 as table

    table(networks or [], device=device, threads=threads, seconds=seconds, batch_size=batch_size, output=output)


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="folders of trainings")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".svg file")],
) -> None:
    """Draw loss and top-1 of trainings over their steps."""
    for run in runs:
        check_exists(run, "Give the run folders of `fit`.")
    from pretrain.curves import draw

    draw(runs, output)


@app.command("transfer-check", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def transfer_check(
    context: typer.Context,
    backbone: Annotated[Path, typer.Argument(help="folder that `export` wrote")],
    data: Annotated[Path, typer.Option(help="folder of the segmentation data set")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="folder for the results; the same command resumes there")
    ] = Path("runs/transfer"),
    config: Annotated[
        str, typer.Option(help="configuration of the trainings: a YAML file, or a name of `rtseg list configs`")
    ] = "rtformer_slim_camvid_half",
    epochs: Annotated[int, typer.Option(help="epochs of each training")] = 16,
    seeds: Annotated[int, typer.Option(help="trainings from scratch, and as many from the backbone")] = 3,
    jobs: Annotated[int, typer.Option(help="trainings at the same time; on a CPU they share its cores")] = 1,
) -> None:
    """Compare fine-tuning with training from scratch.

    Both have equal data, budget and seeds.

    Flags of `rtseg fit` are passed to the trainings: --trainer.precision=bf16-mixed
    """
    file = find_config(config)
    check_exists(backbone, "Give the folder that `python -m pretrain export` wrote.")
    check_exists(data, "Give the folder of the segmentation data set as --data.")
    from pretrain.transfer_check import transfer_check as check

    check(backbone, output, config=file, data=data, epochs=epochs, seeds=seeds, jobs=jobs, flags=context.args)


def _check_root(root: str) -> None:
    if "://" not in root:  # shards may lie on a server
        check_exists(root, "Give a folder of train/ and val/, or a folder or URL of shards.")


def main(args: list[str] | None = None) -> None:
    """The `python -m pretrain` command."""
    run_app(app, args)
