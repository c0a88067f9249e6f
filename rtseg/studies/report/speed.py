"""How fast the network of a run is, never without the conditions that the figure holds under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rtseg.speed.report import NetworkReport, Report
from rtseg.studies.report.figures import Figure
from rtseg.studies.report.run_folder import Run
from rtseg.terminal import counted

_COLUMNS = ("FPS", "median ms", "5–95 % ms", "99 % ms", "network only ms", "equal")


class EngineRow(NamedTuple):
    """One engine as the table shows it.

    Attributes:
        width: the bar's, in per cent of the fastest.
        cells: one for each of `Speed.columns`.
    """

    name: str
    width: float
    cells: Sequence[str]


@dataclass(frozen=True)
class Speed:
    """What the page says of a measurement.

    Attributes:
        headline: FPS on the fastest engine; of several shapes, that of the first row.
        where: device, threads, size and date, in a sentence.
        doubts: why the figures may not repeat: those of the whole machine and of the headline.
        cautions: the doubts of the other engines.
        rows: the engines, fastest first; of several shapes, one shape after the other.
        refused: (engine, why it was not timed).
        conditions: all of them.
    """

    headline: Figure
    where: str
    doubts: Sequence[str]
    cautions: Sequence[str]
    rows: Sequence[EngineRow]
    refused: Sequence[tuple[str, str]]
    conditions: dict[str, Any]
    columns: Sequence[str] = _COLUMNS


def speed(run: Run) -> Speed | None:
    """The speeds of a run; None where nothing was measured."""
    report = run.benchmark
    if report is None:
        return None
    timed = sorted((row for row in report.networks if row.class_map), key=lambda row: -_fps(row))
    shapes = list(dict.fromkeys(_size(row) for row in report.networks if row.class_map))
    timed.sort(key=lambda row: shapes.index(_size(row)))
    best = timed[0]
    doubts, cautions = _doubts(report, timed)
    fastest = max(map(_fps, timed))
    return Speed(
        headline=_headline(best, report.conditions["device"], busy=report.doubted().busy() is not None),
        where=_where(best, report.conditions, in_training=run.benchmark_file.name == "speed.json"),
        doubts=doubts,
        cautions=cautions,
        rows=[
            EngineRow(_engine(row, several=len(shapes) > 1), 100 * _fps(row) / fastest, _cells(row)) for row in timed
        ],
        refused=[
            (_engine(row, several=len(shapes) > 1), row.refused or "it gave no class map")
            for row in report.networks
            if not row.class_map
        ],
        conditions=_all_conditions(report),
    )


def _doubts(report: Report, timed: Sequence[NetworkReport]) -> tuple[list[str], list[str]]:
    """The doubts that stand at the speeds, and those of engines that are not the headline (the first of `timed`).

    That the machine was busy is said once: it explains what was seen of single engines, which then goes to the end.
    """
    doubts = report.doubts()
    if busy := report.doubted().busy():
        seen = [doubt for doubt in doubts if not doubt.startswith("other work kept")]
        return [f"the machine was busy ({busy}); ratios between engines may be wrong by a factor of two"], seen
    best, *others = timed
    named = [f"{best.name}, class map", f"{best.name}, network"]
    apart = [
        doubt
        for doubt in doubts
        if any(f"{row.name}, " in doubt for row in others) and not any(name in doubt for name in named)
    ]
    return [doubt for doubt in doubts if doubt not in apart], apart


def _fps(row: NetworkReport) -> float:
    return row.class_map.fps if row.class_map else 0.0


def _headline(row: NetworkReport, device: dict[str, Any], *, busy: bool) -> Figure:
    what = f"FPS, image → class map: {_size(row)}, {row.backend}, {device['name']}{_threads(row, device)}"
    what += "; measured on a busy machine" * busy
    return Figure(f"{_fps(row):.1f}", what)


def _where(row: NetworkReport, conditions: dict[str, Any], *, in_training: bool) -> str:
    """Where, when and how it was measured."""
    device = conditions["device"]
    by = "FPSMonitor during the training" if in_training else "rtseg benchmark"
    date = str(conditions["date"]).replace("T", " ").replace("+00:00", " UTC")
    commit = conditions["git_commit"] or "unknown"
    return f"{device['name']}{_threads(row, device)}; {_size(row)}; measured by {by} on {date}, commit {commit}."


def _threads(row: NetworkReport, device: dict[str, Any]) -> str:
    threads = row.engine.get("threads")
    return "" if threads is None else f", {counted(threads, 'thread')} on {device['cores']} cores"


def _size(row: NetworkReport) -> str:
    height, width = row.input_size
    return f"{height}×{width} (height × width), batch {row.batch_size}"


def _engine(row: NetworkReport, *, several: bool) -> str:
    height, width = row.input_size
    return f"{row.backend}, {height}×{width}, batch {row.batch_size}" if several else row.backend


def _cells(row: NetworkReport) -> list[str]:
    timing = row.class_map
    if timing is None:
        return []
    return [
        f"{timing.fps:.1f}",
        f"{timing.median_ms:.2f}",
        f"{timing.p5_ms:.2f}–{timing.p95_ms:.2f}",
        f"{timing.p99_ms:.2f}",
        f"{row.network.median_ms:.2f}" if row.network else "not apart",
        f"{row.parity.equal_percent:.3f} %" if row.parity else "reference",
    ]


def _all_conditions(report: Report) -> dict[str, Any]:
    timed = [row for row in report.networks if row.class_map]
    row = timed[0]
    device = {f"device {key}": value for key, value in report.conditions["device"].items()}
    rest = {key: value for key, value in report.conditions.items() if key != "device" and value is not None}
    several = len({_size(row) for row in timed}) > 1
    engines = {f"engine {_engine(row, several=several)}": _describe(row) for row in timed}
    memory = row.peak_memory_bytes
    return {
        "weights": row.weights,
        "size": " and ".join(dict.fromkeys(map(_size, timed))),
        "peak memory": None if memory is None else f"{memory / 2**20:.0f} MiB",
        **engines,
        **device,
        **rest,
    }


def _describe(row: NetworkReport) -> str:
    """What an engine says of itself, and how often it ran."""
    said = {key: value for key, value in row.engine.items() if key not in ("backend", "precision")}
    facts = [f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in said.items()]
    runs = f"{row.class_map.iterations} runs, drift {row.class_map.drift:+.1%}" if row.class_map else ""
    return "; ".join([*facts, runs])
