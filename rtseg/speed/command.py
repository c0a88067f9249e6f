"""The command: networks by name or file on the engines of this machine, checked, timed in turns, reported."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from rtseg.data.dataset import SegmentationDataset, create_dataset
from rtseg.data.files import find_pictures, read_image
from rtseg.deploy.device import choose_device, describe_device
from rtseg.deploy.engines import parse_backend, usual_backends
from rtseg.deploy.export import read_onnx
from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import NO_ATTENTION, choose_attention
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.output.folders import make_folder, write_whole
from rtseg.output.table import show
from rtseg.registry import suggest
from rtseg.speed.benchmark import Candidate, Report, benchmark, cases, out_of_memory, timing_progress
from rtseg.speed.plot import plot
from rtseg.speed.rivals import create_rival, list_rivals
from rtseg.speed.tables import headline, notes, published, stages

_MOST_IMAGES = 16


def run_benchmark(
    networks: Sequence[str] = (),
    *,
    attentions: Sequence[str] = (),
    backends: Sequence[str] = (),
    input_sizes: Sequence[tuple[int, int]] = ((512, 512),),
    batch_sizes: Sequence[int] = (1,),
    num_classes: int = 150,
    device: str | None = None,
    threads: int | None = None,
    images: Sequence[str] = (),
    least_percent: float | None = None,
    data: Path | None = None,
    dataset: str = "camvid",
    memory: bool = False,
    protocol: str = "rtseg",
    output: Path | None = None,
    command: str | None = None,
    **timing: Any,
) -> Report:
    """Prints tables and, as last line, the JSON.

    Args:
        networks: checkpoints, exported .onnx files, names of models and of rivals; rtformer_slim where there is none.
        attentions: of the models by name that have one; one network for each.
        backends: see `rtseg.deploy.engines`; all of `usual_backends` that can be had here where there is none.
        num_classes: of the networks by name.
        images: pictures, folders and globs; at most 16 are taken, evenly.
        least_percent: share of equal pixels below which a row is not timed.
        data, dataset: folder and kind of a data set, on whose validation pictures trained networks are scored, and
            run where there are no `images`.
        memory: also measure what each row holds of a CPU's memory.
        protocol: "ddrnet" also measures as that repository does.
        output: .json file, beside which goes the plot as .svg; or a folder, in which a file is named by device and
            date. A file must not exist.
        command: is noted with the conditions.

    Raises:
        UserError: a bad name, file or number; see `benchmark`.
    """
    console = Console(stderr=True)
    found = choose_device(device)
    if protocol not in ("rtseg", "ddrnet"):
        raise UserError(f"protocol '{protocol}': choose rtseg or ddrnet")
    if least_percent is not None and not 0 <= least_percent <= 100:
        raise UserError(f"--min-parity {least_percent:g} must be per cent, from 0 to 100")
    scored = None if data is None else create_dataset(dataset, data, "val")
    paths = [picture for source in images for picture in find_pictures(source)[1]]
    pictures = _read_images(paths or [image for image, _ in scored.pairs] if scored else paths)
    asked = backends or _available(usual_backends(found), found, console)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what a class map takes depends on the logits: the same untrained weights every time
        candidates = _candidates(networks, attentions, num_classes)
    calibration: Sequence[np.ndarray] = ()
    if scored and data:
        _check_fit(candidates, scored, input_sizes)
        if any(kind.precisions[precision].calibrated for kind, precision in map(parse_backend, asked)):
            calibration = _read_images([image for image, _ in create_dataset(dataset, data, "train").pairs])
    wanted = cases(candidates, input_sizes, asked, batch_sizes)
    file = None if output is None else _file(output, describe_device(found)["name"])
    try:
        with timing_progress(f"{len(wanted)} row(s) on {found}", console) as (on_build, on_progress):
            report = benchmark(
                wanted,
                device=found,
                threads=threads,
                images=pictures,
                calibration=calibration,
                least_percent=least_percent,
                stages=True,
                dataset=scored,
                memory=memory,
                ddrnet_seconds=timing.get("min_seconds", 6.0) if protocol == "ddrnet" else None,
                on_build=on_build,
                on_progress=on_progress,
                **timing,
            )
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            "the memory is not enough: give fewer networks, a smaller --input-size or --batch-size, or leave the "
            "backend reference out"
        ) from None
    if command is not None:
        report.conditions["command"] = command
    tables = (headline(report), stages(report), published(report))
    show(*(table for table in tables if table), notes=notes(report))
    text = report.to_json()
    print(text)
    if file is not None:
        _write(file, text, plot(report), console)
    if not any(row.class_map for row in report.networks):
        raise UserError("no row agrees with the reference, so that there is no FPS; see the column 'parity'")
    return report


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "1024x2048".

    Raises:
        UserError: the text is no such thing.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if found is None:
        raise UserError(f"'{text}' is no input size: give height x width, as in 1024x2048")
    return int(found[1]), int(found[2])


def _candidates(networks: Sequence[str], attentions: Sequence[str], num_classes: int) -> list[Candidate]:
    found = []
    names = list(networks) or ["rtformer_slim"]
    if attentions and not any(map(_has_attention, names)):
        names.append("rtformer_slim")
    for name in names:
        if name in list_models():
            chosen = attentions if _has_attention(name) else ()
            options: Sequence[dict[str, str]] = [{"attention": attention} for attention in chosen] or [{}]
            found += [Candidate(create_model(name, num_classes, **option)) for option in options]
        elif name in list_rivals():
            found.append(Candidate(create_rival(name, num_classes)))
        elif name.endswith(".onnx"):
            graph = read_onnx(name)
            found.append(Candidate(graph, graph.weights, trained=True))
        else:
            found.append(_checkpoint(name))
    return found


def _has_attention(name: str) -> bool:
    return name in list_models() and choose_attention(name, None) != NO_ATTENTION


def _write(file: Path, text: str, drawing: str | None, console: Console) -> None:
    try:
        write_whole(file, text + "\n")
        if drawing:
            write_whole(file.with_suffix(".svg"), drawing)
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error.strerror}; the result stands above") from None
    console.print(f"Written: {file}" + (f" and {file.with_suffix('.svg').name}" if drawing else ""), highlight=False)


def _check_fit(
    candidates: Sequence[Candidate], dataset: SegmentationDataset, input_sizes: Sequence[tuple[int, int]]
) -> None:
    classes, size = len(dataset.labels.names), dataset[0].size
    if size not in input_sizes:
        raise UserError(
            f"the data set's pictures are {size[0]}x{size[1]} (height x width), and they are scored at their own size: "
            f"give --input-size {size[0]} {size[1]}"
        )
    for candidate in candidates:
        if candidate.trained and (own := candidate.network.card.num_classes) != classes:
            raise UserError(
                f"{candidate.name} ({candidate.weights}) has {own} classes, the data set has {classes}: give the data "
                "set that it was trained on, or leave --data out"
            )


def _checkpoint(name: str) -> Candidate:
    try:
        segmenter = Segmenter.from_pretrained(name)
    except UserError as error:
        if Path(name).exists() or "/" in name:
            raise
        known = suggest(name, [*list_models(), *list_rivals()])
        raise UserError(f"'{name}' is no checkpoint, .onnx file, model or rival.{known} ({error})") from None
    return Candidate(segmenter, weights_hash(segmenter), trained=True)


def _available(backends: Sequence[str], device: torch.device, console: Console) -> list[str]:
    found = []
    for backend in backends:
        kind, precision = parse_backend(backend)
        try:
            kind.check(precision, device)
        except UserError as error:
            console.print(f"without {backend}: {error}", markup=False, highlight=False, soft_wrap=True)
        else:
            found.append(backend)
    return found


def _read_images(found: Sequence[Path]) -> list[np.ndarray]:
    return [read_image(picture) for picture in found[:: max(1, -(-len(found) // _MOST_IMAGES))]]


def _file(output: Path, device: str) -> Path:
    """Before the minutes that it takes to measure."""
    if output.suffix and output.suffix != ".json":
        raise UserError(f"'{output}' must end in .json, or be a folder")
    if output.suffix == ".json":
        make_folder(output.parent)
        for file in (output, output.with_suffix(".svg")):
            if file.exists():
                raise UserError(f"'{file}' exists; give another name for the result, or remove it")
        return output
    folder = output / re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    make_folder(folder)
    return folder / f"{datetime.now(UTC):%Y-%m-%d_%H%M%S}.json"
