"""A report as tables: for a terminal, and as Markdown for docs/results.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from rtseg.speed.benchmark import UNTRAINED, NetworkReport, Report, Timing


@dataclass(frozen=True)
class Cells:
    """A table without a look."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1  # columns at the left that are text

    def rich(self, caption: str = "") -> Table:
        """For a terminal."""
        table = Table(title=self.title, caption=caption, caption_justify="left")
        for i, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if i < self.left else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        rule = ["---"] * self.left + ["---:"] * (len(self.headings) - self.left)
        return "".join(f"| {' | '.join(row)} |\n" for row in (self.headings, rule, *self.rows))


def headline(report: Report) -> Cells:
    """One line a row: what it is, its parity, picture -> class map, and the network alone."""
    headings = [
        "network", "engine", "input", "params", "MACs", "parity", "picture → class map, ms", "FPS", "x reference",
        "network alone, ms", "FPS", "Mpixel/s",
    ]  # fmt: skip
    lines = [_headline(row, report) for row in report.networks]
    if any(row.miou is not None for row in report.networks):
        headings.insert(6, "mIoU")
        for row, line in zip(report.networks, lines, strict=True):
            line.insert(6, "" if row.miou is None else f"{row.miou:.4f}")
    return Cells("Speed", headings, lines, left=3)


def stages(report: Report) -> Cells | None:
    """Where the time goes, in ms; None where it was not measured."""
    rows = [row for row in report.networks if row.stages]
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.stages))
    lines = []
    for row in rows:
        # Copies are no part of the headline, which begins and ends on the device.
        total = sum(timing.median_ms for name, timing in row.stages.items() if not name.startswith("copy"))
        cells = [f"{row.stages[name].median_ms:.2f}" if name in row.stages else "" for name in names]
        whole = f"{row.class_map.median_ms:.2f}" if row.class_map else ""
        overlay = f"{row.overlay.median_ms:.2f}" if row.overlay else ""
        classes = f"{row.cell_candidates:.1f}" if row.cell_candidates else ""
        yardstick = f"{row.yardstick_ms:.2f}" if row.yardstick_ms else ""
        memory = f"{row.peak_memory_bytes / 2**20:.0f}" if row.peak_memory_bytes else ""
        kernels = f"{row.kernels}" if row.kernels else ""
        lines.append([*_what(row), *cells, f"{total:.2f}", whole, yardstick, overlay, classes, memory, kernels])
    headings = [
        "network", "engine", "input", *names, "sum", "as one", "network at matmul and copy speed", "picture → overlay",
        "classes a cell", "memory, MiB", "kernels",
    ]  # fmt: skip
    lines, headings = _without_empty(lines, headings)
    return Cells("Stages, median ms", headings, lines, left=3)


def _without_empty(lines: Sequence[Sequence[str]], headings: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    kept = [i for i in range(len(headings)) if any(line[i] for line in lines)]
    return [[line[i] for i in kept] for line in lines], [headings[i] for i in kept]


def published(report: Report) -> Cells | None:
    """The same networks as DDRNet's repository times them; None where that was not asked for."""
    if not report.ddrnet_protocol:
        return None
    rows = [
        [row["network"], "x".join(map(str, row["input_size"])), f"{row['latency_ms']:.2f}", f"{row['fps']:.1f}"]
        for row in report.ddrnet_protocol
    ]
    title = "DDRNet's protocol: random input, BatchNorm left out, upsampled, no argmax, mean"
    return Cells(title, ["network", "input", "ms", "FPS"], rows, left=2)


def notes(report: Report) -> list[str]:
    """Conditions, doubts, and what was folded."""
    c = report.conditions
    device = c["device"]
    machine = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name" and value is not None)
    engines = dict.fromkeys(
        f"{name} {row.engine[name]}"
        for row in report.networks
        for name in ("torch", "onnxruntime", "openvino", "nncf")
        if name in row.engine
    )
    found = [
        f"{device['name']}, {machine}; {', '.join(engines)}; {c['input']}; commit {c['git_commit'] or 'unknown'}, "
        f"{c['date']}",
        "median (5th to 95th percentile); FPS = batch / median; reference: PyTorch float32, nothing folded, NCHW, "
        "interpolate and argmax; parity: pixels equal to it (an exported file's without its checkpoint: to ONNX "
        "Runtime on the same file)",
    ]
    if any(row.weights == UNTRAINED for row in report.networks):
        found.append(
            "untrained networks: times only. Their class maps mean nothing, so their logits decide what may be timed, "
            "but for graphs that give class maps alone"
        )
    for name, b in {row.network_name: row.batchnorm for row in report.networks if row.batchnorm}.items():
        found.append(
            f"{name}: {b['folded']} BatchNorm folded, {b['left']} left; that moves a picture's logits by at most "
            f"{b['max_abs_difference']:.1g} of {b['max_abs_logit']:.3g}"
        )
    rivals = {
        row.model: f"{row.engine['rival']['library']} {row.engine['rival']['version']}"
        for row in report.networks
        if "rival" in row.engine
    }
    if rivals:
        found.append("rivals: " + ", ".join(f"{model} of {library}" for model, library in rivals.items()))
    found += [f"launch-bound: {line}" for line in report.launch_bound()]
    return found + [f"doubt: {doubt}" for doubt in report.doubts()]


def _headline(row: NetworkReport, report: Report) -> list[str]:
    cells = [
        *_what(row),
        f"{row.parameters / 1e6:.2f} M" if row.parameters else "",
        f"{row.macs / 1e9:.2f} G" if row.macs else "",
    ]
    if row.parity is None:
        cells.append("reference")
    elif row.parity.gate == "logits_error":
        cells.append(f"logits {row.parity.logits_error:.0e}")
    else:
        cells.append(f"{row.parity.equal_percent:.3f} %")
    if row.class_map is None:
        return [*cells, f"refused: {row.refused}", *[""] * 5]
    height, width = row.input_size
    reference = next(
        (
            other.class_map
            for other in report.networks
            if other.backend.startswith("reference")
            and (other.model, other.attention, other.weights) == (row.model, row.attention, row.weights)
            and (other.input_size, other.batch_size) == (row.input_size, row.batch_size)
        ),
        None,
    )
    ratio = f"{row.class_map.fps / reference.fps:.2f}" if reference else ""
    pixels = f"{row.class_map.fps * height * width / 1e6:.1f}"
    network = [*_times(row.network)] if row.network else ["", ""]
    return [*cells, *_times(row.class_map), ratio, *network, pixels]


def _what(row: NetworkReport) -> list[str]:
    height, width = row.input_size
    batch = f", batch {row.batch_size}" if row.batch_size > 1 else ""
    weights = "untrained" if row.weights == UNTRAINED else row.weights.removeprefix("sha256:")
    return [f"{row.network_name}, {row.num_classes} classes, {weights}", row.backend, f"{height}x{width}{batch}"]


def _times(timing: Timing) -> tuple[str, str]:
    return f"{timing.median_ms:.2f} ({timing.p5_ms:.2f}-{timing.p95_ms:.2f})", f"{timing.fps:.1f}"
