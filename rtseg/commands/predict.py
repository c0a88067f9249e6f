"""`rtseg predict`."""

import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from rtseg.addresses import live_source, shown
from rtseg.checks import check_one_of
from rtseg.command_line import Device, resumable
from rtseg.deploy.folder.result_names import FILMS, RECORD
from rtseg.deploy.video.live_options import LiveOptions, live_options
from rtseg.deploy.windows.tiling import tiling
from rtseg.disk import refusal
from rtseg.errors import UserError
from rtseg.output.folders import check_new_file, check_place, check_results
from rtseg.paths import check_any_image, check_network
from rtseg.terminal import say

if TYPE_CHECKING:
    from rtseg.deploy.folder.image_files import Outputs
    from rtseg.deploy.predictor import Predictor

app = typer.Typer()

Checkpoint = Annotated[
    str,
    typer.Argument(
        help=".ckpt, folder with model.safetensors, exported file, name of rtseg list weights, or Hugging Face id"
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="folder for the results; - for raw frames of a film")]
MaxPixels = Annotated[
    int | None,
    typer.Option(help="refuse images of more pixels than this; default: 67,108,864, with --tile 178,956,970"),
]
NoOverlay = Annotated[
    bool,
    typer.Option("--no-overlay", help="write class maps (NAME.png) and the record alone: no colours, no legend"),
]
Submission = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="class maps alone, as the test server of a benchmark takes them: cityscapes or ade20k"
    ),
]
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
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto: the fastest engine here that equals float32 PyTorch, measured once for 32 images or more; or "
        "one of rtseg list backends, such as openvino:bf16",
    ),
]
Margin = Annotated[
    bool,
    typer.Option("--margin", help="write NAME_margin.png, too: best minus second best logit, in thousandths"),
]
Steady = Annotated[
    bool,
    typer.Option(
        "--steady", help="films, streams: a pixel that does not move changes its class only where the margin says so"
    ),
]
Polygons = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="write the outlines of all classes in all results, too: one .json of COCO"),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="coco|cvat|labelme",
        help="write all results, too, as files that this label tool opens",
    ),
]
Film = Annotated[
    str,
    typer.Option(
        metavar="|".join(FILMS),
        help="of a film, with its class maps: the overlay, film and overlay side by side, or each frame as PNG files",
    ),
]
Fps = Annotated[
    float | None, typer.Option(help="images per second of numbered images, as frames/%06d.png; default: 25")
]
Deadline = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="of a camera or stream: count the frames whose overlay took longer, as 33ms or 0.05s"
    ),
]
Reconnect = Annotated[
    bool, typer.Option("--reconnect", help="open a stream again when it ends or is lost, until Ctrl-C")
]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="images, films, folders of images, globs, or one camera (camera:0) or stream (rtsp://, http://)"
    ),
]


@app.command()
def predict(
    checkpoint: Checkpoint,
    sources: Sources,
    output: Output,
    device: Device = None,
    engine: Engine = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="say which engine was taken, and why")] = False,
    alpha: Annotated[float, typer.Option(help="weight of the colours in the overlay, from 0 to 1")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="predict only the images whose results are missing")] = False,
    tile: Tile = None,
    overlap: Overlap = None,
    max_pixels: MaxPixels = None,
    no_overlay: NoOverlay = False,
    margin: Margin = False,
    submission: Submission = None,
    steady: Steady = False,
    polygons: Polygons = None,
    labels: Labels = None,
    film: Film = "overlay",
    fps: Fps = None,
    deadline: Deadline = None,
    seconds: Annotated[float | None, typer.Option(help="end a camera or stream after so many; default: Ctrl-C")] = None,
    reconnect: Reconnect = False,
) -> None:
    """Segment images, films, a camera or a stream: class maps, colours, overlays and a legend."""
    tiling(tile, overlap)
    live = live_options(sources, deadline, seconds, reconnect)
    if labels is not None:
        check_one_of("--labels", labels, ("coco", "cvat", "labelme"))
    check_one_of("--film", film, FILMS)
    check_network(checkpoint)
    if live_source(sources) is None:
        check_any_image(sources)
    replaces = overwrite or resume
    if (piped := str(output) == "-") and (replaces or polygons or labels):
        raise UserError("-o - writes frames and no folder: leave out --overwrite, --resume, --polygons and --labels")
    if not piped:
        _check_folder(output, replaces)
    if polygons is not None:
        _check_polygons(polygons, replaces)
    from rtseg.deploy.folder.counts import Counts
    from rtseg.deploy.folder.image_files import Outputs
    from rtseg.deploy.folder.label_files import check_classes
    from rtseg.deploy.folder.predict_files import predict_files
    from rtseg.deploy.predictor import load

    overlays = not no_overlay and submission is None
    outputs, counts = Outputs(overlays, alpha, margin, submission, steady, film, fps), Counts()
    network = partial(load, checkpoint, device=device, engine=engine, tile=tile, overlap=overlap)
    if piped:
        _pipe(network, sources, outputs, max_pixels, live, explain=explain)
        return
    films = _films(sources, output, outlines=polygons is not None or labels is not None)
    again = "The same command with --overwrite starts again." if films else f"To resume: {_to_resume()}"
    with resumable(lambda: f"{counts.sentence()} {again}"):
        predictor = network()
        predictor.runner.may_measure = explain
        if labels is not None:
            check_classes(labels, predictor.class_names)
        failed = predict_files(
            predictor,
            sources,
            output,
            overwrite=overwrite,
            resume=resume,
            outputs=outputs,
            max_pixels=max_pixels,
            counts=counts,
            live=live,
        )
        _write_labels(polygons, labels, output.expanduser(), sources)
    if submission is not None:
        say(f"For the test server of {submission}: put the .png files of '{output}' into a zip file")
    if explain:
        from rtseg.deploy.explain import show_choices

        show_choices(predictor.runner.choices())
    if failed:
        raise typer.Exit(1)


def _check_folder(output: Path, replaces: bool) -> None:
    """Raises: UserError where results cannot be written there, or it is an address, which `Path` took for a name."""
    if re.match(r"[a-z0-9]{2,}:/", str(output), re.IGNORECASE):
        raise UserError(
            "-o takes a folder, and no address; to send a film or a stream on, write its frames into a pipe, as "
            "`-o - | ffmpeg -f rawvideo ...` (docs/video.md)"
        )
    check_results(output, replaces or (output.expanduser() / RECORD).is_file())  # then the network decides


def _pipe(
    network: Callable[[], "Predictor"],
    sources: list[str],
    outputs: "Outputs",
    max_pixels: int | None,
    live: LiveOptions,
    *,
    explain: bool,
) -> None:
    """Writes the frames of a film or a stream to the standard output; whatever is said goes to the standard error."""
    from rtseg.deploy.explain import show_choices
    from rtseg.deploy.folder.counts import Counts
    from rtseg.deploy.video.piped import frames_on_stdout, one_film, pipe_film

    film, counts = live_source(sources) or one_film(sources), Counts()
    with frames_on_stdout() as out, resumable(counts.sentence):
        predictor = network()
        predictor.runner.may_measure = explain
        pipe_film(predictor, film, out, outputs, max_pixels=max_pixels, counts=counts, live=live)
        if explain:
            show_choices(predictor.runner.choices())


def _write_labels(polygons: Path | None, labels: str | None, output: Path, sources: list[str]) -> None:
    """Writes the results in a folder in the formats of label tools."""
    if polygons is not None:
        from rtseg.deploy.folder.coco import write_coco

        number = write_coco(polygons.expanduser(), output)
        say(f"{polygons}: the outlines of all classes in {number} image{'s' * (number != 1)}, in COCO's format")
    if labels is not None:
        from rtseg.deploy.folder.label_files import write_labels

        say(write_labels(labels, output, sources))


def _films(sources: list[str], output: Path, *, outlines: bool) -> list[str]:
    """The films among the sources, or the live one. Raises: UserError where there are some, and outlines are asked."""
    from rtseg.deploy.folder.sources import split_films

    address = live_source(sources)
    films = [shown(address)] if address else [str(film) for film in split_films(sources, output.expanduser())[1]]
    if films and outlines:
        raise UserError(f"--polygons and --labels are of images; leave them out, or '{films[0]}'")
    return films


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
