"""How fast the network of a run is, never without the conditions that the figure holds under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtseg.speed.report import NetworkReport, Report
from rtseg.studies.report.figures import Figure
from rtseg.studies.report.run_folder import Run


@dataclass(frozen=True)
class Speed:
    """What the page says of a measurement.

    Attributes:
        headline: FPS on the fastest engine; of several shapes, that of the first row.
        facts: the conditions of the headline; those that are None are not shown.
        rows: name -> FPS, times, runs and drift, of every engine.
        conditions: all of them.
    """

    headline: Sequence[Figure]
    facts: dict[str, Any]
    in_training: bool
    doubts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    conditions: dict[str, Any]


def speed(run: Run) -> Speed | None:
    """None where nothing was measured."""
    report = run.benchmark
    if report is None:
        return None
    alike = [row for row in report.networks if _size(row) == _size(report.networks[0])]
    best = max(alike, key=lambda row: row.class_map.fps if row.class_map else 0)
    figures = (("image → class map", best.class_map), ("network only (logits at its own stride)", best.network))
    return Speed(
        headline=[Figure(f"{timing.fps:.1f}", f"FPS, {what}") for what, timing in figures if timing],
        facts=_facts(best, report.conditions),
        in_training=run.benchmark_file.name == "speed.json",
        doubts=report.doubts(),
        rows=_rows(report),
        conditions=_all_conditions(report),
    )


def _facts(row: NetworkReport, conditions: dict[str, Any]) -> dict[str, Any]:
    device = conditions["device"]
    engine = {key: value for key, value in row.engine.items() if key not in ("backend", "precision", "threads")}
    return {
        "device": device["name"],
        "threads": f"{row.engine['threads']} on {device['cores']} cores" if "threads" in row.engine else None,
        "size": f"{_size(row)} (height × width)",
        "engine": row.backend,
        **{key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in engine.items()},
        "date": str(conditions["date"]).replace("T", " "),
        "commit": conditions["git_commit"] or "unknown",
    }


def _size(row: NetworkReport) -> str:
    height, width = row.input_size
    return f"{height}×{width}, batch {row.batch_size}"


def _rows(report: Report) -> list[tuple[str, list[str]]]:
    several = len({_size(row) for row in report.networks}) > 1
    return [
        (
            f"{row.backend}{f', {_size(row)}' if several else ''}: {what}",
            [
                f"{timing.fps:.1f}",
                f"{timing.median_ms:.2f}",
                f"{timing.p5_ms:.2f} to {timing.p95_ms:.2f}",
                f"{timing.p99_ms:.2f}",
                f"{timing.iterations}",
                f"{timing.drift:+.1%}",
            ],
        )
        for row in report.networks
        for what, timing in (("image → class map", row.class_map), ("network only", row.network))
        if timing
    ]


def _all_conditions(report: Report) -> dict[str, Any]:
    row = report.networks[0]
    device = {f"device {key}": value for key, value in report.conditions["device"].items()}
    rest = {key: value for key, value in report.conditions.items() if key != "device" and value is not None}
    parity = {
        f"{row.backend}, {_size(row)}, pixels as in plain float32": f"{row.parity.equal_percent:.3f} %"
        for row in report.networks
        if row.parity
    }
    memory = row.peak_memory_bytes
    return {
        "weights": row.weights,
        "size": " and ".join(dict.fromkeys(map(_size, report.networks))),
        "peak memory": None if memory is None else f"{memory / 2**20:.0f} MiB",
        **parity,
        **device,
        **rest,
    }
