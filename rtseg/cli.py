"""The `rtseg` command. `fit`, `validate` and `test` go to LightningCLI, the studies' are in `studies/commands.py`.

Each looks at the paths that it is given, and only then imports what it needs: torch takes seconds.
"""

import importlib
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from rtseg.command_line import Device, create_app, lightning_command, plugin_option, resumable, run_app
from rtseg.configs import list_configs
from rtseg.deploy.folder.result_names import RECORD
from rtseg.deploy.windows.tiling import tiling
from rtseg.disk import refusal
from rtseg.errors import UserError
from rtseg.hub import check_login
from rtseg.output.folders import check_empty, check_new_file, check_place
from rtseg.paths import (
    check_any_image,
    check_exists,
    check_file,
    check_images,
    check_network,
    check_repository,
    is_path,
)
from rtseg.registry import UnknownNameError, suggest
from rtseg.studies import commands
from rtseg.terminal import say
from rtseg.training.first_look import look
from rtseg.training.help import PAGES

app = create_app("rtseg", "Real-time semantic segmentation: train, score, time and use RTFormer.")


Tile = Annotated[
    tuple[int, int] | None,
    typer.Option(
        metavar="HEIGHT WIDTH",
        help="segment larger images in windows of this size, in bounded memory; attention is within a window",
    ),
]
Overlap = Annotated[
    int | None, typer.Option(help="pixels that neighbouring windows share; default: an eighth of their shorter side")
]


@app.command()
def predict(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help=".ckpt, folder with model.safetensors, exported file, name of rtseg list weights, or Hugging Face id"
        ),
    ],
    sources: Annotated[list[str], typer.Argument(help="images, folders or globs")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the results")],
    device: Device = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto: the fastest engine here that equals float32 PyTorch, measured once for 32 images or more; or "
            "one of rtseg list backends, such as openvino:bf16",
        ),
    ] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="say which engine was taken, and why")] = False,
    alpha: Annotated[float, typer.Option(help="weight of the colours in the overlay, from 0 to 1")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="predict only the images whose results are missing")] = False,
    tile: Tile = None,
    overlap: Overlap = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="refuse images of more pixels than this; default: 67,108,864, with --tile 178,956,970"),
    ] = None,
    no_overlay: Annotated[
        bool,
        typer.Option("--no-overlay", help="write class maps (NAME.png) and the record alone: no colours, no legend"),
    ] = False,
    margin: Annotated[
        bool,
        typer.Option("--margin", help="write NAME_margin.png, too: best minus second best logit, in thousandths"),
    ] = False,
    polygons: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write the outlines of all classes in all results, too: one .json of COCO"),
    ] = None,
) -> None:
    """Segment images: class maps, colours, overlays and a legend."""
    tiling(tile, overlap)
    check_network(checkpoint)
    check_any_image(sources)
    _check_results(output, overwrite or resume or (output.expanduser() / RECORD).is_file())  # then the network decides
    if polygons is not None:
        _check_polygons(polygons, overwrite or resume)
    from rtseg.deploy.folder.image_files import Outputs
    from rtseg.deploy.folder.predict_files import Counts, predict_files
    from rtseg.deploy.predictor import load

    outputs, counts = Outputs(overlays=not no_overlay, alpha=alpha, margin=margin), Counts()
    with resumable(lambda: f"{counts.sentence()} To resume: {_to_resume()}"):
        predictor = load(checkpoint, device=device, engine=engine, tile=tile, overlap=overlap)
        predictor.runner.may_measure = explain
        failed = predict_files(
            predictor,
            sources,
            output,
            overwrite=overwrite,
            resume=resume,
            outputs=outputs,
            max_pixels=max_pixels,
            checkpoint=checkpoint,
            counts=counts,
        )
        if polygons is not None:
            from rtseg.deploy.folder.coco import write_coco

            number = write_coco(polygons.expanduser(), output.expanduser())
            say(f"{polygons}: the outlines of all classes in {number} image{'s' * (number != 1)}, in COCO's format")
    if explain:
        from rtseg.deploy.explain import show_choices

        show_choices(predictor.runner.choices())
    if failed:
        raise typer.Exit(1)


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


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(help=".ckpt, folder with model.safetensors, name of rtseg list weights, or Hugging Face id")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=".onnx, .xml (OpenVINO), .mnn or .pt2 (PyTorch) file")
    ] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="image size; default: 512 512")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="images in a batch; default: 1")] = None,
    open_size: Annotated[bool, typer.Option("--open-size", help="take images of any size, and any number")] = False,
    result: Annotated[
        str, typer.Option(help="logits; or class_map or class_map_margin: simpler to use, but slower")
    ] = "logits",
    class_map: Annotated[bool, typer.Option("--class-map", help="the same as --result class_map")] = False,
    image: Annotated[Path | None, typer.Option(help="image to prove the file with; default: a drawn street")] = None,
    lint: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="list the operators that tensorrt or webgpu does not take; needs no -o"),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="8 bits, for OpenVINO (.xml); needs --data")] = False,
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
        raise UserError("--int8 writes a file: give -o net.xml")
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
) -> tuple[int | None, int | None, int | None]:
    """(batch, height, width), each None where it is open.

    Raises:
        UserError: one is given, and all are open.
    """
    if open_size and (size is not None or batch is not None):
        raise UserError("--open-size takes any size and batch: leave out --input-size and --batch-size, or it")
    return (None, None, None) if open_size else (1 if batch is None else batch, *(size or (512, 512)))


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


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="folder of a training, or its nonfinite.ckpt")],
    device: Device = None,
) -> None:
    """Find where a training step stopped being finite.

    It runs the step again whose loss, gradient or update was not finite.
    """
    step = run / "nonfinite.ckpt" if run.is_dir() else run
    check_exists(step, "A training writes it when it stops because a step is not finite.")
    from rtseg.training.module import SegmentationModule
    from rtseg.training.replay import replay as run_again

    say(run_again(run, SegmentationModule, device=device))


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="PaddleSeg's model.pdparams")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    model: Annotated[str, typer.Option(help="rtformer_slim or rtformer_base")] = "rtformer_slim",
    dataset: Annotated[
        str, typer.Option(help="data set of the weights: ade20k or cityscapes; unused for a trunk")
    ] = "ade20k",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Convert PaddleSeg's RTFormer weights; Paddle is not needed.

    Weights of a segmentation network become a folder that rtseg loads. A trunk pre-trained on ImageNet becomes a
    backbone for `rtseg fit --model.weights`.
    """
    check_file(weights, "Give the path of a model.pdparams.")
    _check_results(output, overwrite)
    from rtseg.data.dataset import label_space
    from rtseg.models.backbone_folder import fit_command, save_backbone
    from rtseg.models.paddle import convert as convert_weights
    from rtseg.models.paddle import convert_trunk, holds_trunk
    from rtseg.output.lock import locked_target

    with locked_target(output):
        if not overwrite:
            check_empty(output, "give another folder, or --overwrite to replace the network in it")
        if holds_trunk(weights):
            card, state = convert_trunk(weights, model)
            save_backbone(output, card, state)
            say(f"{output}: the pre-trained backbone of {model}. Try: {fit_command(card, output)}")
            return
        labels = label_space(dataset)
        segmenter = convert_weights(
            weights, model, dataset, class_names=labels.names, palette=labels.palette, ids=labels.ids
        )
        segmenter.save_pretrained(output)
    say(f"{output}: {model}, {dataset}, {segmenter.card.num_classes} classes. Try: rtseg predict {output} IMAGE -o DIR")


@app.command()
def push(
    checkpoint: Annotated[str, typer.Argument(help=".ckpt, or folder with model.safetensors")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Hugging Face id; made where it is new")],
    private: Annotated[bool, typer.Option("--private", help="let nobody else see it")] = False,
) -> None:
    """Send a network to the Hugging Face hub, with a README of what its card says.

    From then on its id works wherever a checkpoint does. Log in first: `hf auth login`.
    """
    check_network(checkpoint)
    check_repository(repository)
    check_login()
    from rtseg.models.push import push as send

    say(send(checkpoint, repository, private=private))


@app.command("make-data")
def make_data(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the data set")],
    layout: Annotated[str, typer.Option(help="ade20k, cityscapes, camvid or imagenet")] = "camvid",
    number: Annotated[int, typer.Option("-n", "--number", help="training images")] = 200,
    number_val: Annotated[int | None, typer.Option(help="validation images; default: an eighth, at least 10")] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="image size; default: that of the layout")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the random numbers; one seed always draws the same images")] = 0,
) -> None:
    """Draw street scenes with exact masks, as data to try out.

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


@app.command("list")
def list_names(
    kind: Annotated[
        str, typer.Argument(help="models, heads, attentions, losses, datasets, backends, rivals, weights or configs")
    ],
    details: Annotated[
        bool,
        typer.Option(
            "--details", help="attentions: options, cost, paper; backends: devices, what to install; weights: addresses"
        ),
    ] = False,
) -> None:
    """List the names that options take."""
    if kind == "configs":
        width = max(map(len, list_configs()))
        say("\n".join(f"{name:{width}}  {text}" for name, text in list_configs().items()))
        return
    if kind == "weights" and not details:
        from rtseg.output.table import show
        from rtseg.studies.listing.weights import overview

        found, notes = overview()
        show(found, notes=notes)
        return
    if kind not in (*_LISTS, "weights"):
        raise UnknownNameError(f"nothing is called '{kind}' to list.{suggest(kind, [*_LISTS, 'weights', 'configs'])}")
    if not details:
        names = getattr(importlib.import_module(_LISTS[kind]), f"list_{kind}")
        say("\n".join(names()))
    else:
        from rtseg.output.table import show
        from rtseg.studies.listing import details as listing

        table, failures = listing(kind)
        show(table, notes=failures)


def _check_results(folder: Path, overwrite: bool) -> None:
    """Raises: UserError where the folder cannot be written to, or holds something that shall stay."""
    folder = folder.expanduser()
    check_place(folder)
    if not overwrite:
        check_empty(folder, "give another folder, or --overwrite to replace results in it")


def _check_polygons(file: Path, replaces: bool) -> None:
    """Raises: UserError where the file cannot be written, is no .json, or holds something that shall stay."""
    if file.suffix.lower() != ".json":
        raise UserError(f"--polygons {file}: COCO's files end in .json; give such a name")
    if not replaces:
        check_new_file(file.expanduser())
    file = file.expanduser()
    check_place(file.parent)
    if file.is_dir():
        raise UserError(f"--polygons {file}: this is a folder; give the name of a file")
    nearest = next(path for path in file.absolute().parents if path.exists())
    try:
        TemporaryFile(dir=nearest).close()  # some folders refuse though their rights allow it
    except OSError as error:
        raise refusal(error, file) from None


def _to_resume() -> str:
    """The command that resumes `rtseg predict`."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    words.insert(words.index("--") if "--" in words else len(words), "--resume")  # behind "--" are images alone
    command = shlex.join(["rtseg", *words])
    return command if len(command) <= 1000 else "the same command with --resume"


def _command_line() -> str:
    """What was typed; of absolute paths their last part alone, since results are published."""
    return shlex.join(["rtseg", *(re.sub(r"(^|=)/.*/", r"\1", word) for word in sys.argv[1:])])


app.add_typer(commands.app)
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
