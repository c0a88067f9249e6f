"""Speed that can be believed: what networks need for a picture on one or more engines, side by side, with conditions.

docs/benchmark.md is the protocol. Everything that reports a speed comes here: `rtseg benchmark`, `rtseg compare`, the
training callback and the tests.
"""

import itertools
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.device import choose_device, describe_device
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.export import OnnxGraph
from rtseg.errors import UserError
from rtseg.speed.cost import count_macs, count_parameters
from rtseg.speed.protocols import ddrnet_protocol
from rtseg.speed.report import UNTRAINED, NetworkReport, Report
from rtseg.speed.row import Candidate, Case, Row, Shared, texture
from rtseg.speed.timing import Step, Timing, measure, measure_together
from rtseg.version import VERSION

__all__ = [
    "UNTRAINED",
    "Candidate",
    "Case",
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


def cases(
    candidates: Iterable[Candidate],
    input_sizes: Sequence[tuple[int, int]] = ((512, 512),),
    backends: Sequence[str] = ("eager",),
    batch_sizes: Sequence[int] = (1,),
) -> list[Case]:
    """All combinations; of an exported graph only those that it can run.

    Raises:
        UserError: an exported graph and none of its backends or sizes.
    """
    found = []
    for candidate in candidates:
        own = [
            Case(candidate, backend, (batch, *size))
            for size, batch, backend in itertools.product(input_sizes, batch_sizes, backends)
        ]
        if isinstance(graph := candidate.network, OnnxGraph):
            own = [c for c in own if parse_backend(c.backend)[0].runs(graph) and c.shape == graph.shape]
            if not own:
                size = "x".join(map(str, graph.shape))
                raise UserError(
                    f"{graph.name} is of {size} (batch x height x width) and puts out {graph.output}: ask for this "
                    "--input-size and --batch-size, and for a backend that reads such files"
                )
        found += own
    return found


def benchmark(
    cases: Sequence[Case],
    *,
    device: str | torch.device | None = None,
    threads: int | None = None,
    images: Sequence[np.ndarray] = (),
    calibration: Sequence[np.ndarray] = (),
    least_percent: float | None = None,
    stages: bool = False,
    dataset: SegmentationDataset | None = None,
    memory: bool = False,
    ddrnet_seconds: float | None = None,
    on_build: Callable[[str], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    **timing: Any,
) -> Report:
    """Measures rows side by side. Copies are measured; thread count and cuDNN's mode are put back afterwards.

    Args:
        threads: on the CPU, of every engine; None leaves PyTorch's.
        images: (H, W, 3) uint8 RGB, resized to each row's input size and taken in turn; none takes a drawn texture.
        calibration: pictures that int8 takes its ranges from; `images` where there are none.
        least_percent: share of equal pixels below which a row is not timed, instead of the thresholds of
            `rtseg.speed.parity`.
        stages: also time the parts of each row, and the way to an overlay.
        dataset: also score trained networks' rows at the size of its pictures, at batch 1.
        memory: also measure what rows on a CPU hold, in a process for each.
        ddrnet_seconds: also time each network as DDRNet's repository does, for so long; see `rtseg.speed.protocols`.
        on_build: is told what is built and checked next.
        on_progress: is told between the turns what share of the timing is done, 0..1.
        timing: passed on to `measure_together`.

    Raises:
        UserError: a bad device, size or number; a backend that cannot be had here.
        RuntimeError: out of memory in PyTorch itself. Another engine that fails makes a refused row.
    """
    device = choose_device(device)
    for case in cases:
        kind, precision = parse_backend(case.backend)
        kind.check(precision, device)
        for name, value in zip(("batch size", "height", "width"), case.shape, strict=True):
            if value < 1:
                raise UserError(f"{name} {value} must be at least 1")
        if kind.precisions[precision].calibrated and not images and not calibration:
            raise UserError(f"{precision} takes its ranges from images: give some with --image")
    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} must be at least 1")
    with timing_settings(threads), torch.inference_mode():
        described = describe_device(device)  # first of all: the load is that of other work
        told = on_build or (lambda _: None)
        shared = Shared(cases, device, images, calibration, least_percent, dataset, memory, told)
        rows = [Row(case, shared) for case in cases]
        timed = [row for row in rows if not row.refused]
        share = 0.7 if stages else 1.0  # of the time, for the figures
        figures = _measure(timed, Row.figures, device, on_progress=_scaled(on_progress, 0, share), **timing)
        parts: list[dict[str, Timing]] = [{} for _ in timed]
        if stages:
            quick = _shorter(timing)
            for i, row in enumerate(timed):  # one after the other: the reference's hold the upsampled logits
                own = _scaled(on_progress, share + (1 - share) * i / len(timed), (1 - share) / len(timed))
                (parts[i],) = _measure([row], Row.parts, device, on_progress=own, **quick)
        conditions = {
            "device": described,
            "rtseg": VERSION,
            "torch": torch.__version__,
            "tf32": False if device.type == "cuda" else None,
            "cudnn_benchmark": torch.backends.cudnn.benchmark if device.type == "cuda" else None,
            "input": f"{len(images)} given picture(s)" if images else "drawn texture",
            "git_commit": git_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        published = () if ddrnet_seconds is None else _ddrnet(cases, device, ddrnet_seconds)
        measured = {id(row): (own, part) for row, own, part in zip(timed, figures, parts, strict=True)}
        reports = tuple(row.report(*measured.get(id(row), ({}, {}))) for row in rows)
        return Report(conditions, reports, published)


def _measure(
    rows: Sequence[Row], steps: Callable[[Row], Mapping[str, Step]], device: torch.device, **timing: Any
) -> list[dict[str, Timing]]:
    """Steps of all rows in turns: for each row name -> time."""
    named = [steps(row) for row in rows]
    if not any(named):
        return [{} for _ in rows]
    batches = [row.case.shape[0] for row, own in zip(rows, named, strict=True) for _ in own]
    flat = [step for own in named for step in own.values()]
    timings = iter(measure_together(flat, device=device, batch_size=batches, **timing))
    return [{name: next(timings) for name in own} for own in named]


def _shorter(timing: Mapping[str, Any]) -> dict[str, Any]:
    """A third of the time is enough for a stage."""
    seconds = timing.get("min_seconds", 6.0) / 3
    most = 2 * seconds or timing.get("max_seconds")
    return {
        **timing,
        "min_seconds": seconds,
        "max_seconds": most,
        "min_iterations": min(50, timing.get("min_iterations", 50)),
    }


def _scaled(on_progress: Callable[[float], None] | None, begin: float, share: float) -> Callable[[float], None] | None:
    return None if on_progress is None else lambda done: on_progress(begin + share * done)


def _ddrnet(cases: Sequence[Case], device: torch.device, seconds: float) -> tuple[dict[str, Any], ...]:
    """Once for each network and size."""
    wanted = {(id(case.candidate), case.shape[1:]): case for case in cases}
    return tuple(
        {
            "network": case.candidate.name,
            "input_size": list(size),
            **ddrnet_protocol(case.candidate.network, size, device, seconds=seconds),
        }
        for (_, size), case in wanted.items()
        if not isinstance(case.candidate.network, OnnxGraph)
    )


@contextmanager
def timing_settings(threads: int | None) -> Iterator[None]:
    """The input size is fixed, so cuDNN may search for its fastest algorithms; float32 means float32, not TF32."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    own = torch.get_num_threads(), cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        _, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = own
        torch.set_num_threads(own[0])


def out_of_memory(error: RuntimeError) -> bool:
    """Whether this is how PyTorch says that the memory is not enough."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def git_commit() -> str | None:
    """Of the checkout that this very file belongs to, with '+changes' where it was edited since."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


@contextmanager
def timing_progress(
    description: str, console: Console
) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A bar for `on_build` and `on_progress` of `benchmark`; while the clock runs it moves between the turns alone."""
    with Progress(console=console) as progress:
        bar = progress.add_task(description, total=1.0)

        def on_build(what: str) -> None:
            progress.update(bar, description=f"building {what}")

        def on_progress(share: float) -> None:
            progress.update(bar, completed=share, description=f"timing {description}")

        yield on_build, on_progress
