"""RTFormer's Table 2, the paper's figures beside ours: parameters, multiply-adds, and what the networks take here.

Wang et al., NeurIPS 2022, https://arxiv.org/abs/2210.07124, appendix. The paper's "FLOPs" are multiply-adds. Of the
thirteen networks it times none; here all are timed in turns, in one run.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from pretrain.table2_measure import count, measure_table
from pretrain.table2_paper import PAPER
from rtseg.deploy.device import choose_device, device_line
from rtseg.errors import UserError
from rtseg.output.folders import replace_between, write_whole
from rtseg.output.lock import locked_target
from rtseg.output.table import Column, Table, bullets, show
from rtseg.speed.conditions import Conditions
from rtseg.speed.report import NetworkReport, Report
from rtseg.speed.timing import Timing
from rtseg.terminal import Console

BEGIN, END = "<!-- table 2 begins: python -m pretrain table2 -->", "<!-- table 2 ends -->"
IMAGE_SIZE = 224  # side of what the paper counts


def table(report: Report) -> Table:
    """The paper's figures beside ours, a line a network.

    Raises:
        ValueError: the report is not one of `measure_table`.
    """
    lines = []
    for single, batch in _pairs(report):
        paper, latency = PAPER.get(single.model), _time(single)
        lines.append(
            [
                single.network_name,
                paper.parameters if paper else None,
                (single.parameters or 0) / 1e6,
                paper.macs if paper else None,
                (single.macs or 0) / 1e9,
                paper.top1 if paper else None,
                f"{latency.median_ms:.2f} ({latency.p5_ms:.2f}-{latency.p95_ms:.2f})",
                _time(batch).fps,
            ]
        )
    columns = [
        Column("network", left=True),
        Column("params, paper", form="{} M", yields=2),
        Column("params, here", form="{:.2f} M"),
        Column("MACs at 224, paper", form="{} G", yields=2),
        Column(f"MACs, here at {report.networks[0].input_size[0]}", form="{:.2f} G"),
        Column("top-1, paper", yields=1),
        Column("latency", "ms"),
        Column(f"images/s, batch {report.networks[1].batch_size}", form="{:.1f}"),
    ]
    return Table("RTFormer's Table 2", columns, lines)


def notes(report: Report) -> list[str]:
    """Each difference from the paper explained, then under which conditions the times hold."""
    c = report.conditions
    side = report.networks[0].input_size[0]
    models = [row.model for row, _ in _pairs(report) if row.model in PAPER]
    found = [f"{model}: {PAPER[model].difference}" for model in models if PAPER[model].difference]
    found += [
        "paper: as RTFormer's appendix prints it; the accuracies are the paper's, none was trained here",
        "params: all that are trained; MACs: of one image, in convolutions, linear layers and products of attention",
        f"times: {side}x{side}, untrained, eager PyTorch, float32, channels_last, BatchNorm not folded, from "
        "normalised images on the device to logits there; networks in turns; median (5th to 95th percentile), "
        "images/s = batch / median",
        *([Conditions.describe(c["timing"])] if "timing" in c else []),
        f"{device_line(c['device'])}; PyTorch {c['torch']}; commit {c['git_commit'] or 'unknown'}, {c['date']}",
    ]
    return [*found, *(f"doubt: {doubt}" for doubt in report.doubts())]


def _pairs(report: Report) -> list[tuple[NetworkReport, NetworkReport]]:
    """Each network's row of one image and its row of a batch."""
    pairs = list(zip(report.networks[::2], report.networks[1::2], strict=True))
    if not pairs or any(single.model != batch.model or single.batch_size != 1 for single, batch in pairs):
        raise ValueError("not two rows a network")
    return pairs


def _time(row: NetworkReport) -> Timing:
    if row.network is None:
        raise ValueError(f"no time of {row.name}")
    return row.network


def table2(
    names: Sequence[str] = (),
    *,
    device: str | None = None,
    threads: int | None = None,
    seconds: float = 6.0,
    batch_size: int | None = None,
    output: Path | None = None,
) -> None:
    """Prints the table.

    Args:
        names: of classifiers; all of the paper's where there is none.
        threads: on the CPU; None takes all that PyTorch takes by itself.
        seconds: timed at least, for each of a network's two figures.
        batch_size: for the throughput; None takes 64 on CUDA, 16 elsewhere.
        output: .json file for the figures, which must not exist.

    Raises:
        UserError: an unknown name or device, a bad number, a file in the way, or too little memory.
    """
    batch = (64 if choose_device(device).type == "cuda" else 16) if batch_size is None else batch_size
    size = (IMAGE_SIZE, IMAGE_SIZE)
    conditions = Conditions(sizes=[size], batches=[1, batch], seconds=seconds, device=device, threads=threads)
    counts = {name: count(name, IMAGE_SIZE) for name in names or PAPER}  # a wrong name should leave no folder
    if output is not None and output.suffix != ".json":
        raise UserError(f"'{output}' must end in .json")
    with nullcontext() if output is None else locked_target(output):
        if output is not None and output.exists():
            raise UserError(f"'{output}' exists; give another name for the result, or remove it")
        report = measure_table(counts, conditions, Console(stderr=True))
        show(table(report), notes=notes(report))
        if output is not None:
            paper = {name: asdict(row) for name, row in PAPER.items()}
            write_whole(output, json.dumps({"paper": paper, **json.loads(report.to_json())}) + "\n")


def refresh(results: Path, page: Path) -> None:
    """Writes the table into a page, between its two comments.

    Args:
        results: what `table2` wrote.

    Raises:
        UserError: the file is not of this kind, or the page lacks the comments.
    """
    try:
        report = Report.from_json(results.read_text())
        content = table(report).markdown() + "\n" + bullets(notes(report)).rstrip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"'{results}' was not written by `python -m pretrain table2` of this version ({type(error).__name__}: "
            f"{error}): measure again"
        ) from None
    replace_between(page, BEGIN, END, content)
