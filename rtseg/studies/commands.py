"""The commands of the studies, as `rtseg` lists them.

Each looks at the paths that it is given, and only then imports what it needs: torch takes seconds.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rtseg.command_line import Device, resumable
from rtseg.configs import find_config
from rtseg.errors import UserError
from rtseg.output.folders import check_new_file, check_place
from rtseg.paths import check_exists, check_file, check_network
from rtseg.studies.runs.task import SEGMENTATION, Task
from rtseg.studies.runs.typed import check_attention, check_typed
from rtseg.terminal import say

app = typer.Typer()

# Options of every comparison.

Output = Annotated[Path, typer.Option("-o", "--output", help="folder for the results; the same command resumes there")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: all cores")]
Seconds = Annotated[float, typer.Option(help="seconds to time each figure, at least")]
Data = Annotated[Path | None, typer.Option(help="folder of a data set, to train each row")]
Epochs = Annotated[int | None, typer.Option(help="epochs of each training")]
Seeds = Annotated[int, typer.Option(help="trainings of each row, with the seeds 0, 1, ...")]
Jobs = Annotated[int, typer.Option(help="trainings at the same time; on a CPU they share its cores")]


def insert_option(task: Task) -> Any:
    """`--insert` of a comparison of a task."""
    return typer.Option(
        metavar="ROW",
        help=f"row of what is inserted: places with attentions, as {task.example}, none, or rows of the first paper as "
        f"{task.tables[0]}; may be repeated",
    )


def memory_option(task: Task) -> Any:
    """`--memory` of a comparison of a task."""
    largest = "; table1 has the largest image for it" * ("table1" in task.tables)
    return typer.Option(metavar="GB", help=f"memory that an attention may take{largest}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="folder of a training")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=".html file; default: report.html in the run's folder")
    ] = None,
) -> None:
    """Write one HTML page about a training.

    It shows curves, the IoU of each class, images, and the latency with its conditions.
    """
    check_exists(run, "Give the run folder that `rtseg fit --output` wrote.")
    from rtseg.studies.report import write_report

    say(f"Report: {write_report(run, output)}")


@app.command()
def visualize(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help=".ckpt, folder with model.safetensors, published name (rtseg list weights) or Hugging Face id"
        ),
    ],
    image: Annotated[str, typer.Argument(help="image file")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder for the sheets; default: runs/visualize/<image>")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="X,Y", help="pixel whose attention is drawn; default: the centre of the image")
    ] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Draw what each attention of a network looks at.

    That is a set of basis masks or memory slots, or what one pixel attends to.
    """
    folder = output or Path("runs/visualize") / Path(image).stem
    check_network(checkpoint)
    check_file(os.path.expanduser(image), "Give an image file.")
    check_place(folder.expanduser())
    from rtseg.studies.visualize import visualize as draw

    draw(checkpoint, image, folder, at=at, device=device, overwrite=overwrite)


@app.command()
def complexity(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder for complexity.json and .svg")] = None,
    channels: Annotated[int, typer.Option(help="channels in the tables")] = 64,
    heads: Annotated[int, typer.Option(help="heads in the tables")] = 8,
    size: Annotated[tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="size of the map in the tables")] = (
        64,
        64,
    ),
    measure: Annotated[bool, typer.Option("--measure", help="run fa and nl on growing maps too")] = False,
    device: Device = None,
    seconds: Annotated[float, typer.Option(help="seconds to time each map, at least")] = 2.0,
) -> None:
    """Count what linear and quadratic attention cost.

    The tables and figures of memory and compute are those of the paper on factorized attention.
    """
    from rtseg.speed.conditions import Conditions
    from rtseg.studies.complexity import complexity_report

    # A map of many tokens takes a second, so rounds are few.
    conditions = Conditions(seconds=seconds, rounds=5, warmup_seconds=min(seconds, 0.5), device=device)
    complexity_report(output, channels=channels, heads=heads, size=size, measure=conditions if measure else None)


@app.command("check-data")
def check_data(
    root: Annotated[
        Path,
        typer.Argument(help="folder of a data set, a YAML of images and masks, or a folder of both without a YAML"),
    ],
    dataset: Annotated[str, typer.Option(help="name of the data set (rtseg list datasets)")] = "folder",
    channels: Annotated[
        int | None, typer.Option(help="channels of the images, as data.channels; default: RGB of 8 bits")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write all that was found")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write one page, with images under their masks")
    ] = None,
    yaml: Annotated[
        Path | None, typer.Option("--yaml", metavar="FILE", help="write the YAML to use, of your own images")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="show all notes")] = False,
) -> None:
    """Find what is wrong with images and masks before a training starts.

    All files are read. Each finding names files, values and the repair. The exit status is 1 where there is a fault.
    """
    root = root.expanduser()
    check_exists(root, "Give the folder of a data set, or its YAML (docs/data.md).")
    for file in filter(None, (json, html, yaml)):
        check_new_file(file.expanduser())
    from rtseg.studies.check_data import Counts, Outputs
    from rtseg.studies.check_data import check_data as check

    counts, outputs = Counts(), Outputs(json, html, yaml)
    with resumable(lambda: f"{counts.done:,} of {counts.total:,} files were looked at. The same command goes on."):
        good = check(dataset, root, outputs, channels=channels, details=details, counts=counts)
    if not good:
        raise typer.Exit(1)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def compare(
    context: typer.Context,
    attention: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="attention, such as gfa+ca; may be repeated; default: those of RTFormer's Table 3"
        ),
    ] = None,
    insert: Annotated[list[str] | None, insert_option(SEGMENTATION)] = None,
    output: Output = Path("runs/compare"),
    model: Annotated[
        str, typer.Option(help="rtformer_slim or rtformer_base; with --insert any, such as timm:resnet18")
    ] = "rtformer_slim",
    input_size: Annotated[tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="image size")] = (
        512,
        512,
    ),
    num_classes: Annotated[int, typer.Option(help="classes of the timed networks")] = 150,
    device: Device = None,
    threads: Threads = None,
    seconds: Seconds = 6.0,
    data: Data = None,
    epochs: Epochs = None,
    config: Annotated[
        str, typer.Option(help="configuration of the trainings: a YAML file, or a name of `rtseg list configs`")
    ] = "rtformer_slim_camvid_half",
    seeds: Seeds = 1,
    jobs: Jobs = 1,
    memory: Annotated[float, memory_option(SEGMENTATION)] = 16.0,
    ratios: Annotated[bool, typer.Option("--ratios", help="show ratios even if the machine was busy")] = False,
) -> None:
    """Compare attentions, or what is inserted: parameters, MACs, latency, FPS and mIoU.

    The figures of RTFormer's paper stand beside those of this machine. mIoU needs --data and --epochs.

    Flags of `rtseg fit` are passed to the trainings: --trainer.precision=bf16-mixed --data.num_workers=4
    """
    file = find_config(config, verb="compare")
    check_passed_on(context, "--insert" if insert else "--attention")
    if attention and insert:
        raise UserError(
            "--attention and --insert are two comparisons, of the network's own attention and of what is inserted; "
            "give one of them"
        )
    check_typed(insert or [], SEGMENTATION)
    for text in attention or []:
        check_attention(text, "--attention: ")
    limit = check_memory(memory)
    from rtseg.studies.runs.recipe import Recipe

    recipe = Recipe.of_options(model, file, data, epochs, context.args)
    check_place(output.expanduser())
    from rtseg.speed.conditions import Conditions
    from rtseg.studies.compare import Plan, compare_insertions
    from rtseg.studies.compare import compare as compare_attentions

    conditions = Conditions(sizes=[input_size], seconds=seconds, device=device, threads=threads)
    if insert:
        compare_insertions(
            insert,
            output,
            model=model,
            num_classes=num_classes,
            conditions=conditions,
            limit=limit,
            plan=Plan(recipe, seeds, jobs),
            ratios=ratios,
        )
        return
    compare_attentions(
        attention or [],
        output,
        model=model,
        num_classes=num_classes,
        conditions=conditions,
        recipe=recipe,
        seeds=seeds,
        jobs=jobs,
        ratios=ratios,
    )


def check_memory(memory: float) -> int:
    """Bytes of so many GB. Raises: UserError: less than a megabyte or more than a petabyte."""
    from rtseg.checks import check_between

    check_between("--memory", memory, 0.001, 1_000_000, "it is in GB, as in --memory 16")
    return int(memory * 1e9)


def check_passed_on(context: typer.Context, row: str) -> None:
    """Flags of a training are passed on; anything else is no option of the command.

    Args:
        row: the option that gives a row.

    Raises:
        UserError: a word that belongs to no option, or an option without a dot, which trainings have.
    """
    from rtseg.registry import suggest

    if context.args and not context.args[0].startswith("-"):
        raise UserError(f"'{context.args[0]}' does not belong to an option; give a row as {row} {context.args[0]}")
    own = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    for name in (argument.partition("=")[0] for argument in context.args):
        if name.startswith("--") and "." not in name:
            raise UserError(f"'{name}' is not an option of this command.{suggest(name, own)}")
