"""How long a piece of work takes, measured so that the figure repeats: warm, synchronised, many times, and in turns.

The one timing function of rtseg: `rtseg benchmark`, the training callback and the tests all come here.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from rtseg.deploy.device import choose_device
from rtseg.errors import UserError

Step = Callable[[], Any]

_ROUND_SECONDS = 0.5  # how long one step runs before the next has its turn


@dataclass(frozen=True)
class Timing:
    """Times of single runs of one step, in milliseconds.

    Attributes:
        fps: pictures a second, batch size / median.
        drift: median of the last tenth of the runs / median of the first tenth - 1; heat or other work shows here.
    """

    median_ms: float
    mean_ms: float
    std_ms: float
    p5_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    iterations: int
    warmup_iterations: int
    drift: float

    @classmethod
    def of(cls, times_ms: Sequence[float], *, batch_size: int, warmup_iterations: int) -> "Timing":
        """The statistics of `times_ms`, in the order of measurement."""
        tenth = max(1, len(times_ms) // 10)
        p5, median, p95, p99 = np.percentile(times_ms, [5, 50, 95, 99])
        drift = np.median(times_ms[-tenth:]) / np.median(times_ms[:tenth]) - 1
        return cls(
            median_ms=float(median),
            mean_ms=float(np.mean(times_ms)),
            std_ms=float(np.std(times_ms)),
            p5_ms=float(p5),
            p95_ms=float(p95),
            p99_ms=float(p99),
            fps=float(1000 * batch_size / median),
            iterations=len(times_ms),
            warmup_iterations=warmup_iterations,
            drift=float(drift),
        )


def measure(step: Step, **conditions: Any) -> Timing:
    """How long `step` takes. The arguments are those of `measure_together`."""
    return measure_together([step], **conditions)[0]


def measure_together(
    steps: Sequence[Step],
    *,
    device: str | torch.device = "cpu",
    batch_size: int | Sequence[int] = 1,
    warmup_seconds: float = 1.0,
    min_iterations: int = 200,
    min_seconds: float = 6.0,
    max_seconds: float | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Timing]:
    """How long each of several steps takes, in turns of half a second, so that their ratios hold on a noisy machine.

    Each step warms up until its median settles within 5 %, then runs until it has `min_iterations` and `min_seconds`,
    or `max_seconds`. Every run is timed apart and to its end: by device events on CUDA, by the clock elsewhere.

    Args:
        steps: functions without arguments; they choose the gradient mode themselves.
        batch_size: pictures in one run, for the FPS; of all steps, or of each.
        warmup_seconds: of each step, at least; at most four times as long.
        max_seconds: of each step, warm-up not counted; None takes three times `min_seconds`.
        on_progress: is told between the turns what share of the work is done, 0..1.

    Raises:
        UserError: no such device, or numbers that leave nothing to measure.
    """
    device = choose_device(device)
    limit = 3 * min_seconds if max_seconds is None else max_seconds
    numbers = (min_iterations, min_seconds, warmup_seconds, limit)
    if (
        not all(map(math.isfinite, numbers))
        or min_iterations < 1
        or limit <= 0
        or not 0 <= min_seconds <= limit
        or (warmup_seconds < 0)
    ):
        raise UserError(
            f"min_iterations={min_iterations}, warmup_seconds={warmup_seconds}, min_seconds={min_seconds}, "
            f"max_seconds={limit}: give at least one iteration, a time above 0, and min_seconds <= max_seconds"
        )
    stopwatch = _stopwatch(device)
    warmups = [warm_up(partial(stopwatch, step), warmup_seconds) for step in steps]
    times: list[list[float]] = [[] for _ in steps]
    spent = [0.0] * len(steps)  # seconds, the untimed runs included

    def unfinished(i: int) -> bool:
        return spent[i] < limit and (spent[i] < min_seconds or len(times[i]) < min_iterations)

    def share_done(i: int) -> float:
        if not unfinished(i):
            return 1.0
        return max(spent[i] / limit, min(spent[i] / max(min_seconds, 1e-9), len(times[i]) / min_iterations))

    while any(map(unfinished, range(len(steps)))):
        for i in filter(unfinished, range(len(steps))):
            begin, turn_end = time.perf_counter() - spent[i], spent[i] + _ROUND_SECONDS
            if len(steps) > 1:
                steps[i]()  # untimed: brings back into the caches what the other steps displaced
            while unfinished(i) and spent[i] < turn_end:
                times[i].append(stopwatch(steps[i]))
                spent[i] = time.perf_counter() - begin
            if on_progress is not None:
                on_progress(sum(map(share_done, range(len(steps)))) / len(steps))
    batch_sizes = [batch_size] * len(steps) if isinstance(batch_size, int) else batch_size
    return [
        Timing.of(own, batch_size=batch, warmup_iterations=warmup)
        for own, batch, warmup in zip(times, batch_sizes, warmups, strict=True)
    ]


def _stopwatch(device: torch.device) -> Callable[[Step], float]:
    """A function that runs a step to its end and returns the milliseconds."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def time_events(step: Step) -> float:
            with torch.cuda.device(device):
                start.record()
                step()
                end.record()
                end.synchronize()
            return start.elapsed_time(end)

        return time_events
    synchronize = torch.mps.synchronize if device.type == "mps" else lambda: None

    def time_clock(step: Step) -> float:
        synchronize()
        begin = time.perf_counter()
        step()
        synchronize()
        return 1000 * (time.perf_counter() - begin)

    return time_clock


def warm_up(run: Callable[[], float], seconds: float) -> int:
    """Runs for `seconds`, then on until two successive windows agree within 5 % in their median; the number of runs."""
    runs, previous = 0, float("inf")
    begin = time.perf_counter()
    while True:
        window, end = [run()], time.perf_counter() + seconds / 3
        while time.perf_counter() < end:
            window.append(run())
        runs += len(window)
        median, spent = float(np.median(window)), time.perf_counter() - begin
        if spent >= 4 * seconds or (spent >= seconds and abs(median / previous - 1) < 0.05):
            return runs
        previous = median
