"""A report as tables: for a terminal, and as Markdown for docs/results/."""

from rtseg.deploy.device import device_line
from rtseg.deploy.engines import engine_classes
from rtseg.output.table import Cell, Column, Table
from rtseg.speed.benchmark import UNTRAINED, NetworkReport, Report, Timing
from rtseg.speed.conditions import Conditions

_WHAT = (
    Column("network", left=True, groups=True),
    Column("engine", left=True),
    Column("input", left=True, groups=True),
)


def headline(report: Report) -> Table:
    """One line a row: what it is, its parity, image -> class map, and the network alone."""
    columns = [
        *_WHAT,
        Column("params", form="{:.2f} M", groups=True),
        Column("MACs", form="{:.2f} G", groups=True),
        Column("parity", yields=1),
        Column("mIoU", form="{:.4f}", optional=True),
        Column("image → class map", "ms"),
        Column("FPS", form="{:.1f}"),
        Column("x reference", form="{:.2f}", yields=2),
        Column("network alone", "ms", yields=3),
        Column("FPS", form="{:.1f}", yields=4),
        Column("Mpixel/s", form="{:.1f}", yields=5),
    ]
    return Table("Speed", columns, [_headline(row, report) for row in report.networks])


def stages(report: Report) -> Table | None:
    """Where the time goes, in ms; None where it was not measured."""
    rows = [row for row in report.networks if row.stages]
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.stages))
    columns = [
        *_WHAT,
        *(Column(name, form="{:.2f}", yields=1) for name in names),
        Column("sum", form="{:.2f}"),
        Column("as one", form="{:.2f}", optional=True),
        Column("network at matmul and copy speed", form="{:.2f}", optional=True, yields=3),
        Column("image → overlay", form="{:.2f}", optional=True, yields=2),
        Column("classes a cell", form="{:.1f}", optional=True, yields=5),
        Column("memory", "MiB", form="{:.0f}", optional=True, yields=2),
        Column("kernels", optional=True, yields=4),
    ]
    lines = []
    for row in rows:
        median = {name: timing.median_ms for name, timing in row.stages.items()}
        # Copies are no part of the headline, which begins and ends on the device.
        total = sum(ms for name, ms in median.items() if not name.startswith("copy"))
        whole, overlay = (timing.median_ms if timing else None for timing in (row.class_map, row.overlay))
        memory = row.peak_memory_bytes and row.peak_memory_bytes / 2**20
        cells = [total, whole, row.yardstick_ms, overlay, row.cell_candidates, memory, row.kernels]
        lines.append([*_what(row), *map(median.get, names), *cells])
    return Table("Stages, median ms", columns, lines)


def published(report: Report) -> Table | None:
    """The same networks as DDRNet's repository times them; None where that was not asked for."""
    if not report.ddrnet_protocol:
        return None
    columns = [
        Column("network", left=True),
        Column("input", left=True),
        Column("ms", form="{:.2f}"),
        Column("FPS", form="{:.1f}"),
    ]
    rows = [
        [row["network"], "x".join(map(str, row["input_size"])), row["latency_ms"], row["fps"]]
        for row in report.ddrnet_protocol
    ]
    return Table("DDRNet's protocol: random input, BatchNorm left out, upsampled, no argmax, mean", columns, rows)


def notes(report: Report) -> list[str]:
    """Conditions, doubts, and what was folded."""
    c = report.conditions
    libraries = dict.fromkeys(library for kind in engine_classes() for library in kind.libraries)
    engines = dict.fromkeys(
        f"{name} {row.engine[name]}" for row in report.networks for name in libraries if name in row.engine
    )
    found = [
        f"{device_line(c['device'])}; {', '.join(engines)}; {c['input']}; commit {c['git_commit'] or 'unknown'}, "
        f"{c['date']}",
        *([Conditions.describe(c["timing"])] if "timing" in c else []),  # older reports do not say
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
            f"{name}: {b['folded']} BatchNorm folded, {b['left']} left; that moves an image's logits by at most "
            f"{b['max_abs_difference']:.1g} of {b['max_abs_logit']:.3g}"
        )
    rivals = {
        row.model: f"{row.engine['rival']['library']} {row.engine['rival']['version']}"
        for row in report.networks
        if "rival" in row.engine
    }
    if rivals:
        found.append("rivals: " + ", ".join(f"{model} of {library}" for model, library in rivals.items()))
    found += [f"refused: {row.name}: {row.refused}" for row in report.networks if row.refused]
    found += [f"launch-bound: {line}" for line in report.launch_bound()]
    return found + [f"doubt: {doubt}" for doubt in report.doubts()]


def _headline(row: NetworkReport, report: Report) -> list[Cell]:
    parity = "reference"
    if row.parity is not None:
        logits = row.parity.gate == "logits_error"
        parity = f"logits {row.parity.logits_error:.0e}" if logits else f"{row.parity.equal_percent:.3f} %"
    cells: list[Cell] = [
        *_what(row),
        row.parameters and row.parameters / 1e6,
        row.macs and row.macs / 1e9,
        parity,
        row.miou,
    ]
    if row.class_map is None:
        return [*cells, "refused", *[None] * 5]
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
    ratio = reference and row.class_map.fps / reference.fps
    pixels = row.class_map.fps * height * width / 1e6
    network = _times(row.network) if row.network else (None, None)
    return [*cells, *_times(row.class_map), ratio, *network, pixels]


def _what(row: NetworkReport) -> list[Cell]:
    height, width = row.input_size
    batch = f", batch {row.batch_size}" if row.batch_size > 1 else ""
    weights = "untrained" if row.weights == UNTRAINED else row.weights.removeprefix("sha256:")
    return [f"{row.network_name}, {row.num_classes} classes, {weights}", row.backend, f"{height}x{width}{batch}"]


def _times(timing: Timing) -> tuple[str, float]:
    return f"{timing.median_ms:.2f} ({timing.p5_ms:.2f}-{timing.p95_ms:.2f})", timing.fps
