"""The `rtseg` command. `fit`, `validate` and `test` go to LightningCLI, everything else is here.

Each imports what it needs when it runs.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rtseg.errors import UserError

app = typer.Typer(
    name="rtseg",
    help="Real-time semantic segmentation: train, score, time and use RTFormer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: a GPU where there is one")]


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(help=".ckpt, folder with model.safetensors, or Hugging Face id")],
    sources: Annotated[list[str], typer.Argument(help="images, folders, globs")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the results")],
    device: Device = None,
    alpha: Annotated[float, typer.Option(help="share of the colour in the overlay, 0..1")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Segment images: class maps in the data set's ids (.png) and colour overlays (_overlay.jpg)."""
    from rtseg.deploy.predictor import load, predict_files

    failed = predict_files(load(checkpoint, device=device), sources, output, overwrite=overwrite, alpha=alpha)
    if failed:
        raise typer.Exit(1)


@app.command()
def benchmark(
    checkpoints: Annotated[list[str] | None, typer.Argument(help="trained networks, as for predict")] = None,
    model: Annotated[str | None, typer.Option(help="an untrained network by name")] = None,
    attention: Annotated[list[str] | None, typer.Option(help="of the network by name; repeat it to compare")] = None,
    input_size: Annotated[tuple[int, int], typer.Option(metavar="HEIGHT WIDTH")] = (512, 512),
    num_classes: Annotated[int, typer.Option(help="of the network by name")] = 150,
    device: Device = None,
    batch_size: int = 1,
    threads: Annotated[int | None, typer.Option(help="of PyTorch on the CPU; default: all cores")] = None,
    memory_format: Annotated[str, typer.Option(help="channels_last or contiguous")] = "channels_last",
    image: Annotated[Path | None, typer.Option(help="a picture to run on instead of a drawn one")] = None,
    seconds: Annotated[float, typer.Option(help="timed at least, for each figure")] = 6.0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="file for the JSON")] = None,
) -> None:
    """Measure latency and FPS, picture to class map, with all conditions; the last line is JSON."""
    from rtseg.deploy.benchmark import run_benchmark

    run_benchmark(
        checkpoints or [],
        model,
        attention or [],
        input_size,
        num_classes,
        device,
        batch_size,
        threads,
        output,
        memory_format=memory_format,
        image=image,
        min_seconds=seconds,
    )


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="PaddleSeg's model.pdparams")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    model: Annotated[str, typer.Option(help="rtformer_slim or rtformer_base")] = "rtformer_slim",
    dataset: Annotated[str, typer.Option(help="whose official variant it is: ade20k or cityscapes")] = "ade20k",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Turn PaddleSeg's published RTFormer weights into a folder that rtseg loads; Paddle is not needed."""
    from rtseg.data.dataset import label_space
    from rtseg.models.paddle import convert as convert_weights
    from rtseg.output import check_empty

    if not overwrite:
        check_empty(output, "give another folder, or --overwrite to replace the network in it")
    labels = label_space(dataset)
    segmenter = convert_weights(
        weights, model, dataset, class_names=labels.names, palette=labels.palette, ids=labels.ids
    )
    segmenter.save_pretrained(output)
    print(
        f"{output}: {model}, {dataset}, {segmenter.card.num_classes} classes. Try: rtseg predict {output} IMAGE -o DIR"
    )


@app.command("make-data")
def make_data(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to make")],
    layout: Annotated[str, typer.Option(help="ade20k, cityscapes, camvid or imagenet")] = "camvid",
    number: Annotated[int, typer.Option("-n", "--number", help="training images")] = 200,
    number_val: Annotated[int | None, typer.Option(help="validation images; default: an eighth, at least 10")] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="default: the layout's own")
    ] = None,
    seed: int = 0,
) -> None:
    """Draw street scenes with exact masks in a data set's official layout, so that everything runs without a
    download.
    """
    from rtseg.data.synthetic import make_data as draw

    draw(layout, number, output, n_val=number_val, size=size, seed=seed)


@app.command("list")
def list_names(
    kind: Annotated[str, typer.Argument(help="models, attentions or datasets")],
    details: Annotated[bool, typer.Option("--details", help="of attentions: options, costs, papers")] = False,
) -> None:
    """List the names that options take."""
    import rtseg
    from rtseg.registry import UnknownNameError, suggest

    kinds = {"models": rtseg.list_models, "attentions": rtseg.list_attentions, "datasets": rtseg.list_datasets}
    if kind not in kinds:
        raise UnknownNameError(f"nothing is called '{kind}' to list.{suggest(kind, kinds)}")
    if not details:
        print("\n".join(kinds[kind]()))
    elif kind == "attentions":
        from rtseg.studies.attention_table import table

        Console(width=None if Console().is_terminal else 150).print(table())
    else:
        raise UserError(f"there are no details of {kind}; leave --details out, or list attentions")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="folder of a training")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="default: report.html in the run's folder")
    ] = None,
) -> None:
    """One self-contained HTML page of a run: curves, IoU by class, pictures, FPS with its conditions."""
    from rtseg.studies.report import write_report

    print(f"Report: {write_report(run, output)}")


@app.command()
def visualize(
    checkpoint: Annotated[str, typer.Argument(help=".ckpt, folder with model.safetensors, or Hugging Face id")],
    image: Annotated[str, typer.Argument(help="a picture")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder for the sheets; default: runs/visualize/<picture>")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="X,Y", help="the pixel whose view is drawn; default: the picture's centre")
    ] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Draw what each attention of a network looks at: basis masks, memory slots, or the view of one pixel."""
    from rtseg.studies.visualize import visualize as draw

    folder = output or Path("runs/visualize") / Path(image).stem
    draw(checkpoint, image, folder, at=at, device=device, overwrite=overwrite)


@app.command()
def complexity(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder for complexity.json and .svg")] = None,
    channels: Annotated[int, typer.Option(help="of the tables")] = 64,
    heads: Annotated[int, typer.Option(help="of the tables")] = 8,
    size: Annotated[tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="of the tables' map")] = (64, 64),
    measure: Annotated[bool, typer.Option("--measure", help="also run fa and nl on growing maps")] = False,
    device: Device = None,
    seconds: Annotated[float, typer.Option(help="timed at least, for each map")] = 2.0,
) -> None:
    """Memory and compute of linear and quadratic attention: the factorized-attention paper's tables and figures."""
    from rtseg.studies.complexity import complexity_report

    complexity_report(
        output, channels=channels, heads=heads, size=size, measure=measure, device=device, seconds=seconds
    )


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def compare(
    context: typer.Context,
    attention: Annotated[
        list[str] | None, typer.Option(help="a row, as in gfa+ca; repeat it; default: the rows of RTFormer's Table 3")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="folder; called again, the command goes on there")
    ] = Path("runs/compare"),
    model: Annotated[str, typer.Option(help="rtformer_slim or rtformer_base")] = "rtformer_slim",
    input_size: Annotated[tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="of what is timed")] = (512, 512),
    num_classes: Annotated[int, typer.Option(help="of what is timed")] = 150,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(help="of PyTorch on the CPU; default: all cores")] = None,
    seconds: Annotated[float, typer.Option(help="timed at least, for each figure")] = 6.0,
    data: Annotated[Path | None, typer.Option(help="a data set's folder: also train each row")] = None,
    epochs: Annotated[int | None, typer.Option(help="of each training")] = None,
    config: Annotated[Path, typer.Option(help="recipe of the trainings")] = Path(
        "configs/rtformer_slim_camvid_half.yaml"
    ),
    seeds: Annotated[int, typer.Option(help="trainings a row, seeds 0, 1, ...")] = 1,
    jobs: Annotated[int, typer.Option(help="trainings at a time; on a CPU they share its cores")] = 1,
) -> None:
    """Attentions side by side: parameters, MACs, latency and FPS here, the paper's figures, mIoU where trained.

    Flags of `rtseg fit` are handed on to the trainings: --trainer.precision=bf16-mixed --data.num_workers=4
    """
    from rtseg.studies.compare import compare as compare_attentions

    compare_attentions(
        attention or [],
        output,
        model=model,
        input_size=input_size,
        num_classes=num_classes,
        device=device,
        threads=threads,
        seconds=seconds,
        config=config,
        data=data,
        epochs=epochs,
        seeds=seeds,
        jobs=jobs,
        flags=context.args,
    )


def _lightning_command(name: str, help_text: str) -> None:
    """Lists a LightningCLI command in `rtseg --help` without importing Lightning."""

    @app.command(
        name,
        help=help_text,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def run(context: typer.Context) -> None:
        from rtseg.training.cli import main as lightning_main

        lightning_main([name, *context.args])


for _name, _help in {
    "fit": "Train a network: --config configs/<name>.yaml, every key as a flag; --ckpt_path goes on with a training.",
    "validate": "Score a checkpoint on the validation images: --config ... --ckpt_path ...",
    "test": "Score a checkpoint on the test images.",
}.items():
    _lightning_command(_name, _help)


def main(args: list[str] | None = None) -> None:
    """Runs the command line; an error of the user's ends in one line and exit status 2."""
    try:
        app(args)
    except UserError as error:
        # From a loader's process it comes wrapped in that process's traceback.
        message = str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip()
        Console(stderr=True).print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except RuntimeError as error:
        if "closed by peer" not in str(error):  # gloo's word in the other processes of a training when one has ended
            raise
        print("error: another process of this training ended; its own message says why", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
