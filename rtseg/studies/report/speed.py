"""How fast the network of a run is, never without the conditions that the figure holds under."""

from html import escape
from typing import Any

from rtseg.deploy.benchmark import NetworkReport
from rtseg.studies.report.elements import facts, figure
from rtseg.studies.report.run_folder import Run


def speed_headline(run: Run) -> str:
    """FPS, with its conditions right beside it."""
    if run.benchmark is None:
        return ""
    network, conditions = run.benchmark.networks[0], run.benchmark.conditions
    by = "FPSMonitor during the training" if run.benchmark_file.name == "speed.json" else "<code>rtseg benchmark</code>"
    notes = "".join(f'<p class="warn">Caution: {escape(doubt)}.</p>' for doubt in run.benchmark.doubts())
    pair = figure(f"{network.class_map.fps:.1f}", "FPS, picture → class map")
    pair += figure(f"{network.network.fps:.1f}", "FPS, network only (stride-8 logits)")
    source = f"Measured by {by} ({run.benchmark_file.name})."
    shown = facts(_benchmark_facts(conditions))
    return f'<div class="speed"><div class="pair">{pair}</div>{shown}<p class="soft">{source}</p>{notes}</div>'


def _benchmark_facts(conditions: dict[str, Any]) -> dict[str, Any]:
    device = conditions["device"]
    threads = f"{device['threads']} of PyTorch on {device['cores']} cores" if "threads" in device else None
    height, width = conditions["input_size"]
    return {
        "device": device["name"],
        "threads": threads,
        "size": f"{height}×{width} (height × width), batch {conditions['batch_size']}",
        "precision": f"{conditions['precision']}, {conditions['memory_format']}",
        "backend": f"PyTorch {conditions['torch']} {conditions['backend']}, BatchNorm {conditions['batchnorm']}",
        "date": str(conditions["date"]).replace("T", " "),
        "commit": conditions["git_commit"] or "unknown",
    }


def speed_section(run: Run) -> str:
    """Latencies and all conditions of the measurement; empty where there is none."""
    if run.benchmark is None:
        return ""
    network, conditions = run.benchmark.networks[0], run.benchmark.conditions
    rows = "".join(
        f'<tr><th scope="row">{what}</th>'
        f'<td class="number">{timing.fps:.1f}</td><td class="number">{timing.median_ms:.2f}</td>'
        f'<td class="number">{timing.p5_ms:.2f} to {timing.p95_ms:.2f}</td><td class="number">{timing.p99_ms:.2f}</td>'
        f'<td class="number">{timing.iterations}</td><td class="number">{timing.drift:+.1%}</td></tr>'
        for what, timing in (("picture → class map", network.class_map), ("network only", network.network))
    )
    head = "".join(
        f'<th scope="col" class="number">{name}</th>'
        for name in ("FPS", "median ms", "5 to 95 % ms", "99 % ms", "runs", "drift")
    )
    return (
        f'<section><h2>Speed</h2><div class="scroll"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="soft">Picture → class map: from the uint8 picture on the device to its class map there, '
        "normalisation, upsampling and argmax included. Network only: from the normalised image to stride-8 logits. "
        "FPS is batch / median.</p>"
        f"<details><summary>All conditions of the measurement</summary>{facts(_all_conditions(network, conditions))}"
        "</details></section>"
    )


def _all_conditions(network: NetworkReport, conditions: dict[str, Any]) -> dict[str, Any]:
    device = {f"device {key}": value for key, value in conditions["device"].items()}
    rest = {key: value for key, value in conditions.items() if key != "device" and value is not None}
    memory = network.peak_memory_bytes
    return {
        "weights": network.weights,
        "peak memory": None if memory is None else f"{memory / 2**20:.0f} MiB",
        **device,
        **rest,
    }
