"""A report as tables: for a terminal, where the speeds come last, and as Markdown for docs/results/."""

from rtseg.deploy.device import device_line
from rtseg.deploy.engines import engine_classes
from rtseg.output.table import Cell, Column, Table, show
from rtseg.speed.benchmark import UNTRAINED, NetworkReport, Report
from rtseg.speed.conditions import Conditions
from rtseg.terminal import say

_NETWORK = (
    Column("network", left=True, groups=True),
    Column("weights", left=True, groups=True),
    Column("input", left=True, groups=True),
)
_IN_GRAPH = "normalize + network"  # the stage of engines whose graph normalises
_REPAIR = "run again on a quiet machine"


def tell(report: Report, *, ratios: bool, stderr: bool) -> None:
    """Prints the report for people: what it took and where the time goes, then the speeds.

    Args:
        ratios: show them even if the machine was busy.
        stderr: print to the standard error.
    """
    details = [table for table in (stages(report), published(report)) if table]
    show(*details, notes=conditions(report), stderr=stderr)
    say("", stderr=stderr)
    show(headline(report, ratios=ratios), notes=remarks(report, ratios=ratios), stderr=stderr)


def headline(report: Report, *, ratios: bool = False) -> Table:
    """One line a row: engine, image → class map, the ratio to plain PyTorch, and whether its class maps are equal.

    Args:
        ratios: show them even if the machine was busy.
    """
    columns = [
        *_NETWORK,
        Column("params", form="{:.2f} M", groups=True),
        Column("MACs", form="{:.2f} G", groups=True),
        Column("engine", left=True),
        Column("ms", form="{:.2f}"),
        Column("FPS", form="{:.1f}"),
        Column("times", form="{:.2f}", optional=True),
        Column("equal"),
        Column("mIoU", form="{:.4f}", optional=True),
        Column("5 to 95 %", "ms", yields=1),
        Column("network alone", "ms", form="{:.2f}", optional=True, yields=2),
        Column("memory", "MiB", form="{:.0f}", optional=True, yields=3),
        Column("Mpixel/s", form="{:.1f}", yields=4),
    ]
    rows = [_headline(row, report, ratios=ratios) for row in report.networks]
    return Table("Image → class map", columns, rows)


def stages(report: Report) -> Table | None:
    """Where the time goes, in ms; None where it was not measured."""
    rows = [row for row in report.networks if row.stages]
    if not rows:
        return None
    measured = {name: None for row in rows for name in row.stages}
    names = list(dict.fromkeys("network" if name == _IN_GRAPH else name for name in measured))
    columns = [
        *_NETWORK,
        Column("engine", left=True),
        *(Column(name, form="{:.2f}", yields=1) for name in names),
        Column("sum", form="{:.2f}"),
        Column("overlay", form="{:.2f}", optional=True, yields=2),
        Column("network at matmul and copy speed", form="{:.2f}", optional=True, yields=3),
        Column("kernels", optional=True, yields=4),
        Column("classes a cell", form="{:.1f}", optional=True, yields=5),
    ]
    lines = []
    for row in rows:
        median = {name: timing.median_ms for name, timing in row.stages.items()}
        # Copies are no part of the headline, which begins and ends on the device.
        total = sum(ms for name, ms in median.items() if not name.startswith("copy"))
        median.setdefault("network", median.get(_IN_GRAPH, 0.0))
        overlay = row.overlay.median_ms if row.overlay else None
        cells: list[Cell] = [total, overlay, row.yardstick_ms, row.kernels, row.cell_candidates]
        lines.append([*_network(row), row.backend, *map(median.get, names), *cells])
    return Table("Where the time goes, ms", columns, lines)


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


def conditions(report: Report) -> list[str]:
    """What all rows share, and what the columns mean."""
    c = report.conditions
    libraries = dict.fromkeys(library for kind in engine_classes() for library in kind.libraries)
    engines = dict.fromkeys(
        f"{name} {row.engine[name]}" for row in report.networks for name in libraries if name in row.engine
    )
    found = [
        f"{device_line(c['device'])}; {', '.join(engines)}; {c['input']}; commit {c['git_commit'] or 'unknown'}, "
        f"{c['date']}",
        *([Conditions.describe(c["timing"])] if "timing" in c else []),  # older reports do not say
        "ms: median from the image on the device to the class map there; FPS: batch / median; times: FPS over that of "
        "`reference`, plain PyTorch in float32; equal: pixels whose class is the reference's (an exported file without "
        "its checkpoint is compared with ONNX Runtime on the same file)",
    ]
    if any(_IN_GRAPH in row.stages for row in report.networks):
        found.append("the graph of an exported network normalises, so its `network` has both")
    rivals = {
        row.model: f"{row.engine['rival']['library']} {row.engine['rival']['version']}"
        for row in report.networks
        if "rival" in row.engine
    }
    if rivals:
        found.append("rivals: " + ", ".join(f"{model} of {library}" for model, library in rivals.items()))
    return found


def remarks(report: Report, *, ratios: bool = False) -> list[str]:
    """What has to be known to read the speeds: doubts, refusals, untrained networks, launches.

    Args:
        ratios: they are shown even if the machine was busy.
    """
    found = report.doubted().notes(ratios=ratios, repair=_REPAIR)
    if any(row.weights == UNTRAINED for row in report.networks):
        found.append("untrained: class maps mean nothing, so the logits are compared (error over their spread)")
    found += [f"refused: {row.name}: {row.refused}" for row in report.networks if row.refused]
    return found + [f"launch-bound: {line}" for line in report.launch_bound()]


def notes(report: Report) -> list[str]:
    """All that stands below the tables of a page: conditions, what was folded, remarks."""
    folded = [
        f"{name}: {b['folded']} BatchNorm folded, {b['left']} left; that moves an image's logits by at most "
        f"{b['max_abs_difference']:.1g} of {b['max_abs_logit']:.3g}"
        for name, b in {row.label: row.batchnorm for row in report.networks if row.batchnorm}.items()
    ]
    return [*conditions(report), *folded, *remarks(report)]


def _headline(row: NetworkReport, report: Report, *, ratios: bool) -> list[Cell]:
    equal = "reference"
    if row.parity is not None:
        logits = row.parity.gate == "logits_error"
        equal = f"logits {row.parity.logits_error:.0e}" if logits else f"{row.parity.equal_percent:.3f} %"
    doubts = report.doubted()
    mark = doubts.mark(row.name)
    known: list[Cell] = [
        *_network(row),
        row.parameters and row.parameters / 1e6,
        row.macs and row.macs / 1e9,
        f"{row.backend} {mark}" if mark else row.backend,
    ]
    if row.class_map is None:
        return [*known, "refused", None, None, equal, row.miou, *[None] * 4]
    reference = _reference(row, report)
    shown = reference is not None and (ratios or doubts.busy() is None)
    height, width = row.input_size
    return [
        *known,
        row.class_map.median_ms,
        row.class_map.fps,
        row.class_map.fps / reference if reference and shown else None,
        equal,
        row.miou,
        f"{row.class_map.p5_ms:.2f}-{row.class_map.p95_ms:.2f}",
        row.network.median_ms if row.network else None,
        row.peak_memory_bytes and row.peak_memory_bytes / 2**20,
        row.class_map.fps * height * width / 1e6,
    ]


def _reference(row: NetworkReport, report: Report) -> float | None:
    """FPS of the same network and size in plain PyTorch: a file's checkpoint, where the file has none of its own."""
    same = [
        other
        for other in report.networks
        if other.class_map
        and other.backend.startswith("reference")
        and (other.model, other.attention, other.weights) == (row.model, row.attention, row.weights)
        and (other.input_size, other.batch_size) == (row.input_size, row.batch_size)
    ]
    found = [other for other in same if other.file == row.file]
    found += [other for other in same if row.weights != UNTRAINED]
    return found[0].class_map.fps if found and found[0].class_map else None


def _network(row: NetworkReport) -> list[Cell]:
    weights = "untrained" if row.weights == UNTRAINED else f"weights {row.weights.removeprefix('sha256:')}"
    return [row.label, f"{row.num_classes} classes, {weights}", row.shape]
