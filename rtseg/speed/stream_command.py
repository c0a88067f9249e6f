"""`rtseg benchmark --stream`: scores networks on the engines of this machine as they would see a film go by."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.checks import check_between
from rtseg.data.dataset import SegmentationDataset, create_dataset
from rtseg.deploy.device import OtherWork, describe_device, device_line
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.steady import check_steady
from rtseg.errors import UserError
from rtseg.output.table import Column, Table, show
from rtseg.speed.asked import Asked
from rtseg.speed.candidate import Candidate
from rtseg.speed.command import locked_result, write_result
from rtseg.speed.conditions import Conditions
from rtseg.speed.machine import git_commit, timing_settings
from rtseg.speed.progress import progress_bar
from rtseg.speed.stream import Found, Played, Streamed, series, stream
from rtseg.terminal import Console, say

_FILM = 0.2  # of the pixels; measured between neighbours: films 0.6 and more, scenes of their own below 0.1
_COLUMNS = (
    Column("network", left=True, groups=True),
    Column("engine", left=True),
    Column("masks", left=True, optional=True),
    Column("ms", form="{:.1f}"),
    Column("p95", "ms", form="{:.1f}"),
    Column("p99", "ms", form="{:.1f}", yields=2),
    Column("frames/s", form="{:g}"),
    Column("taken", yields=1),
    Column("behind", "frames", form="{:.2f}"),
    Column("mIoU of the stream", form="{:.4f}"),
    Column("mIoU", form="{:.4f}"),
    Column("flicker", "%", form="{:.2f}"),
)


@dataclass(frozen=True)
class _Row:
    """A network on an engine, and what it made of the stream."""

    candidate: Candidate
    backend: str
    steady: bool
    streamed: Streamed


def run_stream(
    asked: Asked,
    conditions: Conditions,
    folder: Path,
    dataset: str,
    rates: Sequence[float],
    output: Path | None = None,
    *,
    steady: bool = False,
) -> None:
    """Scores each network on each engine at each rate, and prints a table and a line of JSON, as `run_benchmark` does.

    Args:
        folder, dataset: folder and kind of a data set, whose validation images are the frames, in their order.
        rates: frames a second.
        output: .json file, or folder, as for `run_benchmark`.
        steady: score the steadied class maps, too; both ways take turns at each frame.

    Raises:
        UserError: a bad name, file or number; networks without trained weights, or of other classes; frames that are
            not in order; class maps of other frames than RGB are to be steadied.
    """
    for rate in rates:
        check_between("--fps", rate, 0.01, 10000, "it is how many frames arrive in a second")
    console, device = Console(stderr=True), conditions.where
    candidates = asked.candidates(conditions)
    frames = create_dataset(dataset, folder, "val", candidates[0].network.card.channels)
    if steady and frames.channels is not None:
        raise UserError("--steady looks for motion in RGB of 8 bits, and these frames are otherwise: leave it out")
    for candidate in candidates:
        _check(candidate, frames)
    films = series([os.path.splitext(os.path.relpath(image, folder))[0] for image, _ in frames.pairs])
    backends = asked.engines(candidates, device, console)
    wanted = [
        (candidate, backend)
        for candidate in candidates
        for backend in backends
        if parse_backend(backend)[0].runs(candidate.network)
    ]
    if not wanted:
        raise UserError(f"none of the engines {', '.join(backends)} runs these networks: see rtseg list backends")
    with locked_result(output, device) as file:
        rows = []
        with timing_settings(conditions.threads), progress_bar(f"{len(wanted)} row(s)", console) as progress:
            described, watch = describe_device(device), OtherWork()
            for number, (candidate, backend) in enumerate(wanted):
                progress.building(f"{candidate.name}, {backend}: {len(frames)} frames")
                predictor = Predictor(candidate.network, engine=backend, device=device)
                ways: list[Callable[[np.ndarray], Found]] = [predictor.classes_of]
                if steady and _can_be_steady(predictor, backend, console):
                    ways.append(predictor.prediction_of)
                for way, streamed in enumerate(stream(ways, frames, rates)):
                    rows.append(_Row(candidate, backend, way == 1, streamed))
                progress.timed((number + 1) / len(wanted))
        text = json.dumps(
            {
                "kind": "stream",
                "dataset": dataset,
                "frames": len(frames),
                "size": list(frames[0].size),
                "device": described,
                "cores_busy_during_the_run": watch.cores(),
                "commit": git_commit(),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": asked.command,
                "rows": [_document(row, played) for row in rows for played in row.streamed.played],
            }
        )
        if file is not None:
            write_result(file, text, None, console)
    piped = not sys.stdout.isatty()
    if piped:
        say(text)
    _tell(rows, frames, [*_note_of(films), *_note_of_motion(rows), device_line(described)], stderr=piped)


def _can_be_steady(predictor: Predictor, backend: str, console: Console) -> bool:
    """Whether the class maps of an engine can be steadied; the console says why not."""
    try:
        check_steady(predictor)
    except UserError as error:
        console.print(f"without steady masks of {backend}: {error}", soft_wrap=True)
        return False
    return True


def _note_of(films: Sequence[str]) -> list[str]:
    if len(films) == 1:
        return []
    return [f"the names of the frames are of {len(films)} series, '{films[0]}...' and others: a stream is one film"]


def _note_of_motion(rows: Sequence[_Row]) -> list[str]:
    still = rows[0].streamed.still  # of the frames alone, so of all rows
    if still is None or still >= _FILM:
        return []
    return [
        f"only {still:.0%} of the pixels stand still between neighbouring frames, and fewer than {_FILM:.0%} "
        "are rare in a film: if these are scenes of their own, flicker and the mIoU of the stream say nothing"
    ]


def _check(candidate: Candidate, frames: SegmentationDataset) -> None:
    classes, card = len(frames.labels.names), candidate.network.card
    if not candidate.trained:
        raise UserError(
            f"{candidate.name} has no trained weights, and a stream is scored: give a checkpoint or an exported file"
        )
    if card.num_classes != classes:
        raise UserError(
            f"{candidate.name} ({candidate.file}) has {card.num_classes} classes, the frames have {classes}: give the "
            "data set that it was trained on"
        )
    if card.channels != frames.channels:
        takes, have = (f"{many} channels" if many else "RGB of 8 bits" for many in (card.channels, frames.channels))
        raise UserError(
            f"{candidate.name} ({candidate.file}) takes {takes}, the frames have {have}: give the data set that it was "
            "trained on, and networks of unlike channels one by one"
        )


def _document(row: _Row, played: Played) -> dict[str, Any]:
    p50, p95, p99 = _percentiles(row.streamed)
    return {
        "network": row.candidate.name,
        "file": row.candidate.file,
        "weights": row.candidate.weights,
        "backend": row.backend,
        "steady": row.steady,
        "median_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "fps": played.fps,
        "frames_taken": played.taken,
        "frames_behind": _behind(played),
        "stream_miou": played.mean_iou if played.behind else None,
        "miou": row.streamed.plain,
        "flicker": row.streamed.flicker,
    }


def _percentiles(streamed: Streamed) -> list[float]:
    """Median, 95th and 99th percentile of the latencies, in milliseconds."""
    return [float(1000 * value) for value in np.percentile(streamed.seconds, (50, 95, 99))]


def _behind(played: Played) -> float | None:
    return float(np.mean(played.behind)) if played.behind else None


def _tell(rows: Sequence[_Row], frames: SegmentationDataset, about: Sequence[str], *, stderr: bool) -> None:
    cells = [
        (
            f"{row.candidate.name} {row.candidate.file}".strip(),
            row.backend,
            ("steady" if row.steady else "plain") if any(one.steady for one in rows) else None,
            *_percentiles(row.streamed),
            played.fps,
            f"{played.taken} of {played.frames}",
            _behind(played),
            played.mean_iou if played.behind else None,
            row.streamed.plain,
            None if row.streamed.flicker is None else 100 * row.streamed.flicker,
        )
        for row in rows
        for played in row.streamed.played
    ]
    height, width = frames[0].size
    notes = [
        "; ".join([f"{len(frames)} frames of {height}x{width}", *about]),
        "ms: from a frame in memory to its class map, the median",
        "taken: the frames that the network took; it dropped those that came while it was busy",
        "mIoU of the stream: each class map against the frame that was current when it was ready",
        "flicker: of the pixels that do not move from frame to frame, those whose class changes",
    ]
    show(Table("Networks on a stream", _COLUMNS, cells), notes=notes, stderr=stderr)
