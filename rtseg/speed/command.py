"""`rtseg benchmark`: checks networks on the engines of this machine, times them in turns, and reports."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from rtseg.checks import check_one_of
from rtseg.data.dataset import SegmentationDataset, create_dataset
from rtseg.data.files import find_images
from rtseg.data.image_space import image_suffixes
from rtseg.deploy.device import describe_device
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.pixels import read_pixels
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_target
from rtseg.speed.asked import Asked
from rtseg.speed.benchmark import Candidate, Report, benchmark, cases, out_of_memory
from rtseg.speed.conditions import Conditions
from rtseg.speed.plot import plot
from rtseg.speed.progress import progress_bar
from rtseg.speed.tables import tell
from rtseg.terminal import Console, say

_MOST_IMAGES = 16


def run_benchmark(
    asked: Asked,
    conditions: Conditions,
    *,
    images: Sequence[str] = (),
    data: Path | None = None,
    dataset: str = "camvid",
    memory: bool = False,
    protocol: str = "rtseg",
    output: Path | None = None,
    ratios: bool = False,
) -> Report:
    """Measures, and prints tables for people, the speeds last.

    Where the standard output is no terminal, it gets one line of JSON and nothing else.
    The tables then go to the standard error.

    Args:
        images: images, folders and globs; at most 16 are taken, evenly.
        data, dataset: folder and kind of a data set, on whose validation images trained networks are scored, and
            run where there are no `images`.
        memory: also measure what each row holds of a CPU's memory.
        protocol: "ddrnet" also measures as that repository does.
        ratios: show them even if the machine was busy; the JSON has all that they are made of.
        output: .json file, beside which goes the plot as .svg; or a folder, in which a file is named by device and
            date. It must not exist.

    Raises:
        UserError: a bad name, file or number; see `benchmark`.
    """
    console, device = Console(stderr=True), conditions.where
    check_one_of("protocol", protocol, ("rtseg", "ddrnet"))
    candidates = asked.candidates(conditions)
    cards = {candidate.network.card.channels: candidate.network.card for candidate in candidates}
    if len(cards) > 1 and (images or data):
        raise UserError("the networks take images of unlike channels, which no image has: leave --image and --data out")
    card = next(iter(cards.values()))
    scored = None if data is None else create_dataset(dataset, data, "val", card.channels)
    paths = [image for source in images for image in find_images(source, image_suffixes(card.channels))[1]]
    given = _read_images(paths or [image for image, _ in scored.pairs] if scored else paths, card)
    backends = asked.engines(candidates, device, console)
    calibration: Sequence[np.ndarray] = ()
    if scored and data:
        _check_fit(candidates, scored, conditions.sizes)
        if any(kind.precisions[precision].calibrated for kind, precision in map(parse_backend, backends)):
            calibration = _read_images([image for image, _ in create_dataset(dataset, data, "train").pairs], card)
    rows = cases(candidates, backends, conditions)
    with locked_result(output, device) as file:
        try:
            with progress_bar(f"{len(rows)} row(s) on {device}", console) as progress:
                report = benchmark(
                    rows,
                    conditions,
                    images=given,
                    calibration=calibration,
                    dataset=scored,
                    stages=True,
                    memory=memory,
                    ddrnet=protocol == "ddrnet",
                    progress=progress,
                )
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                "the memory is not enough: give fewer networks, a smaller --input-size or --batch-size, or leave the "
                "backend reference out"
            ) from None
        if asked.command is not None:
            report.conditions["command"] = asked.command
        _tell(report, file, console, ratios=ratios)
    return report


def _tell(report: Report, file: Path | None, console: Console, *, ratios: bool) -> None:
    """The tables stand last in a terminal. The file comes first: a pipe may be closed."""
    piped = not sys.stdout.isatty()
    text = report.to_json()
    if file is not None:
        write_result(file, text, plot(report), console)
    if piped:
        say(text)
    tell(report, ratios=ratios, stderr=piped)
    if not any(row.class_map for row in report.networks):
        raise UserError("no row agrees with the reference, so that there is no FPS; see the column 'equal'")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "1024x2048".

    Raises:
        UserError: the text is no such thing.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if found is None:
        raise UserError(f"'{text}' is not an input size: give height x width, as in 1024x2048")
    return int(found[1]), int(found[2])


def write_result(file: Path, text: str, drawing: str | None, console: Console) -> None:
    """The result, which is printed where it cannot be written: it took minutes."""
    try:
        write_whole(file, text + "\n")
        if drawing:
            write_whole(file.with_suffix(".svg"), drawing)
    except UserError as error:
        say(text)
        raise UserError(f"{error}. The result stands above") from None
    console.print(f"Written: {file}" + (f" and {file.with_suffix('.svg').name}" if drawing else ""))


def _check_fit(
    candidates: Sequence[Candidate], dataset: SegmentationDataset, input_sizes: Sequence[tuple[int, int]]
) -> None:
    classes, size = len(dataset.labels.names), dataset[0].size
    if size not in input_sizes:
        raise UserError(
            f"the data set's images are {size[0]}x{size[1]} (height x width), and they are scored at their own size: "
            f"give --input-size {size[0]} {size[1]}"
        )
    for candidate in candidates:
        if candidate.trained and (own := candidate.network.card.num_classes) != classes:
            raise UserError(
                f"{candidate.name} ({candidate.weights}) has {own} classes, the data set has {classes}: give the data "
                "set that it was trained on, or leave --data out"
            )


def _read_images(found: Sequence[Path], card: ModelCard) -> list[np.ndarray]:
    return [read_pixels(image, card) for image in found[:: max(1, -(-len(found) // _MOST_IMAGES))]]


@contextmanager
def locked_result(output: Path | None, device: torch.device) -> Iterator[Path | None]:
    """Where the result goes, which is looked at before the minutes that it takes to measure."""
    if output is None:
        yield None
        return
    into_folder = output.is_dir() or not output.suffix
    if not into_folder and output.suffix != ".json":
        raise UserError(f"'{output}' must end in .json, or be a folder")
    file = output
    if into_folder:
        folder = re.sub(r"[^a-z0-9]+", "-", describe_device(device)["name"].lower()).strip("-")
        file = output / folder / f"{datetime.now(UTC):%Y-%m-%d_%H%M%S}.json"
    with locked_target(file):
        for result in (file, file.with_suffix(".svg")):
            if result.exists():
                raise UserError(f"'{result}' exists; give another name for the result, or remove it")
        yield file
