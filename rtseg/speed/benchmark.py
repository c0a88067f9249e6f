"""Measures networks on engines side by side, with the conditions.

docs/benchmark.md is the protocol. Everything that reports a speed comes here: `rtseg benchmark`, `rtseg compare`, the
training callback and the tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.device import OtherWork, describe_device
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from rtseg.speed.bench import Bench
from rtseg.speed.candidate import Candidate, Case, cases
from rtseg.speed.conditions import Conditions
from rtseg.speed.cost import count_macs, count_parameters
from rtseg.speed.images import Images, texture
from rtseg.speed.machine import git_commit, out_of_memory, timing_settings
from rtseg.speed.progress import Progress
from rtseg.speed.protocols import ddrnet_protocol
from rtseg.speed.pulse import Pulse
from rtseg.speed.report import UNTRAINED, NetworkReport, Report
from rtseg.speed.row import Row
from rtseg.speed.timing import Step, Timing, measure, measure_together
from rtseg.version import VERSION

__all__ = [
    "UNTRAINED",
    "Candidate",
    "Case",
    "Conditions",
    "NetworkReport",
    "Report",
    "Timing",
    "benchmark",
    "cases",
    "count_macs",
    "count_parameters",
    "measure",
    "out_of_memory",
    "texture",
]


def benchmark(
    cases: Sequence[Case],
    conditions: Conditions,
    *,
    images: Sequence[np.ndarray] = (),
    calibration: Sequence[np.ndarray] = (),
    dataset: SegmentationDataset | None = None,
    stages: bool = False,
    memory: bool = False,
    ddrnet: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measures rows side by side.

    Copies of the networks are measured. Thread count and cuDNN's mode are restored afterwards.

    Args:
        cases: the rows; their shapes, not those of `conditions`, are measured, and are what the report says.
        images: (H, W, 3) uint8 RGB, resized to each row's input size and taken in turn; none takes a drawn texture.
        calibration: images that int8 takes its ranges from; `images` where there are none.
        dataset: also score trained networks' rows at the size of its images, at batch 1.
        stages: also time the parts of each row, and the way to an overlay.
        memory: also measure what rows on a CPU hold, in a process for each.
        ddrnet: also time each network as DDRNet's repository does; see `rtseg.speed.protocols`.
        progress: is called while it measures.

    Raises:
        UserError: a backend that cannot be had here; int8 without images.
        RuntimeError: out of memory in PyTorch itself. Another engine that fails makes a refused row.
    """
    device, progress = conditions.where, progress or Progress()
    for case in cases:
        kind, precision = parse_backend(case.backend)
        kind.check(precision, device)
        if kind.precisions[precision].calibrated and not images and not calibration:
            raise UserError(f"{precision} takes its ranges from images: give some with --image")
    with timing_settings(conditions.threads), torch.inference_mode():
        described = describe_device(device)  # first of all: the load is that of other work
        shown = Images(images, calibration, device)
        bench = Bench(cases, conditions, shown, dataset=dataset, memory=memory, building=progress.building)
        rows = [Row(case, bench) for case in cases]
        timed = [row for row in rows if not row.refused]
        share = 0.7 if stages else 1.0  # of the time, for the figures
        on_cpu = device.type == "cpu"
        watch, pulse, on_figures = OtherWork(), Pulse() if on_cpu else None, progress.part(0, share)

        def between_turns(done: float) -> None:
            on_figures(done)
            if pulse is not None:
                pulse.beat()

        figures = _measure(timed, Row.figures, conditions, between_turns)
        busy = watch.cores() if on_cpu else None
        parts: list[dict[str, Timing]] = [{} for _ in timed]
        if stages:
            for i, row in enumerate(timed):  # one after the other: the reference's hold the upsampled logits
                on_stages = progress.part(share + (1 - share) * i / len(timed), (1 - share) / len(timed))
                (parts[i],) = _measure([row], Row.parts, conditions.shorter(), on_stages)
        published = _ddrnet(cases, conditions) if ddrnet else ()
        shared = _conditions(cases, conditions, described, len(images))
        shared |= {"cores_busy_during_the_run": busy, "processor": pulse and pulse.report()}
        measured = {id(row): (own, part) for row, own, part in zip(timed, figures, parts, strict=True)}
        reports = tuple(row.report(*measured.get(id(row), ({}, {}))) for row in rows)
        return Report(shared, reports, published)


def _conditions(
    cases: Sequence[Case], conditions: Conditions, described: dict[str, Any], images: int
) -> dict[str, Any]:
    """What all rows share, in plain JSON types."""
    cuda = conditions.where.type == "cuda"
    sizes, batches = dict.fromkeys(case.shape[1:] for case in cases), dict.fromkeys(case.shape[0] for case in cases)
    measured = replace(conditions, sizes=tuple(sizes), batches=tuple(batches), threads=torch.get_num_threads())
    return {
        "device": described,
        "timing": measured.to_dict(),
        "rtseg": VERSION,
        "torch": torch.__version__,
        "tf32": False if cuda else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark if cuda else None,
        "input": f"{images} given image(s)" if images else "drawn texture",
        "git_commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _measure(
    rows: Sequence[Row],
    steps: Callable[[Row], Mapping[str, Step]],
    conditions: Conditions,
    on_progress: Callable[[float], None],
) -> list[dict[str, Timing]]:
    """Steps of all rows in turns: for each row name -> time."""
    named = [steps(row) for row in rows]
    if not any(named):
        return [{} for _ in rows]
    batches = [row.case.shape[0] for row, own in zip(rows, named, strict=True) for _ in own]
    flat = [step for own in named for step in own.values()]
    timings = iter(measure_together(flat, conditions, batches=batches, on_progress=on_progress))
    return [{name: next(timings) for name in own} for own in named]


def _ddrnet(cases: Sequence[Case], conditions: Conditions) -> tuple[dict[str, Any], ...]:
    """Once for each network and size."""
    wanted = {(id(case.candidate), case.shape[1:]): case for case in cases}
    return tuple(
        {
            "network": case.candidate.name,
            "input_size": list(size),
            **ddrnet_protocol(case.candidate.network, size, conditions.where, seconds=conditions.seconds),
        }
        for (_, size), case in wanted.items()
        if not isinstance(case.candidate.network, Graph)
    )
