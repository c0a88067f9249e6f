"""How fast the network of a run is, never without the conditions that the figure holds under."""

from html import escape
from typing import Any

from rtseg.speed.benchmark import NetworkReport, Report
from rtseg.studies.report.elements import facts, figure
from rtseg.studies.report.run_folder import Run


def speed_headline(run: Run) -> str:
    """FPS on the fastest engine, with its conditions right beside it; of several shapes, that of the first row."""
    if run.benchmark is None:
        return ""
    first = run.benchmark.networks[0]
    alike = [row for row in run.benchmark.networks if _size(row) == _size(first)]
    best = max(alike, key=lambda row: row.class_map.fps if row.class_map else 0)
    by = "FPSMonitor during the training" if run.benchmark_file.name == "speed.json" else "<code>rtseg benchmark</code>"
    notes = "".join(f'<p class="warn">Caution: {escape(doubt)}.</p>' for doubt in run.benchmark.doubts())
    pair = "".join(
        figure(f"{timing.fps:.1f}", f"FPS, {what}")
        for what, timing in (
            ("picture → class map", best.class_map),
            ("network only (stride-8 logits)", best.network),
        )
        if timing
    )
    source = f"Measured by {by} ({run.benchmark_file.name})."
    shown = facts(_facts(best, run.benchmark.conditions))
    return f'<div class="speed"><div class="pair">{pair}</div>{shown}<p class="soft">{source}</p>{notes}</div>'


def _facts(row: NetworkReport, conditions: dict[str, Any]) -> dict[str, Any]:
    device = conditions["device"]
    engine = {key: value for key, value in row.engine.items() if key not in ("backend", "precision", "threads")}
    return {
        "device": device["name"],
        "threads": f"{row.engine['threads']} on {device['cores']} cores" if "threads" in row.engine else None,
        "size": f"{_size(row)} (height × width)",
        "engine": row.backend,
        **{key: ", ".join(value) if isinstance(value, list) else value for key, value in engine.items()},
        "date": str(conditions["date"]).replace("T", " "),
        "commit": conditions["git_commit"] or "unknown",
    }


def _size(row: NetworkReport) -> str:
    height, width = row.input_size
    return f"{height}×{width}, batch {row.batch_size}"


def speed_section(run: Run) -> str:
    """Latencies on every engine and all conditions of the measurement; empty where there is none."""
    if run.benchmark is None:
        return ""
    several = len({_size(row) for row in run.benchmark.networks}) > 1
    rows = "".join(
        f'<tr><th scope="row">{escape(row.backend)}{f", {_size(row)}" if several else ""}: {what}</th>'
        f'<td class="number">{timing.fps:.1f}</td><td class="number">{timing.median_ms:.2f}</td>'
        f'<td class="number">{timing.p5_ms:.2f} to {timing.p95_ms:.2f}</td><td class="number">{timing.p99_ms:.2f}</td>'
        f'<td class="number">{timing.iterations}</td><td class="number">{timing.drift:+.1%}</td></tr>'
        for row in run.benchmark.networks
        for what, timing in (("picture → class map", row.class_map), ("network only", row.network))
        if timing
    )
    head = "".join(
        f'<th scope="col" class="number">{name}</th>'
        for name in ("FPS", "median ms", "5 to 95 % ms", "99 % ms", "runs", "drift")
    )
    return (
        f'<section><h2>Speed</h2><div class="scroll"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="soft">Picture → class map: from the uint8 picture on the device to its class map there, '
        "normalisation, upsampling and argmax included. Network only: from the normalised image to stride-8 logits; "
        "engines that read a graph normalise in it. FPS is batch / median.</p>"
        f"<details><summary>All conditions of the measurement</summary>{facts(_all_conditions(run.benchmark))}"
        "</details></section>"
    )


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
