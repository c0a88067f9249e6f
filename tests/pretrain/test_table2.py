"""Table 2: the paper's figures beside ours, every number of an explanation counted; the command; the page."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pretrain import table2 as command
from pretrain import table2_measure
from pretrain.networks.classifier import create_classifier, list_classifiers
from pretrain.table2 import BEGIN, END, refresh, table2
from pretrain.table2_measure import count
from pretrain.table2_paper import PAPER
from rtseg.errors import UserError
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure_together

COUNTED = {name: partial(cache(count), name, 224) for name in PAPER}


def millions(name: str) -> float:
    return COUNTED[name]()[0] / 1e6


def gmacs(name: str) -> float:
    return COUNTED[name]()[1] / 1e9


# --- the paper's figures and ours


def test_it_has_every_classifier_in_the_papers_order() -> None:
    assert PAPER.keys() <= set(list_classifiers())
    assert [row.top1 for row in PAPER.values()] == [
        69.0, 75.3, 69.8, 73.9, 72.0, 75.2, 76.3, 73.9, 76.4, 70.2, 75.9, 72.3, 77.4,
    ]  # fmt: skip


def test_the_figures_are_those_of_the_paper(shared: Path) -> None:
    text = next((shared / "seeds").glob("004*")).read_text()
    for row in PAPER.values():
        assert f"\t{row.parameters}M\t{row.macs}G\t{row.top1}\n" in text


@pytest.mark.parametrize("name", PAPER)
def test_ours_rounds_to_the_papers_or_the_difference_is_explained(name: str) -> None:
    row = PAPER[name]
    equal = (round(millions(name), 1), round(gmacs(name), 1)) == (row.parameters, row.macs)
    assert equal == (not row.difference)


def network(name: str) -> Any:
    with torch.device("meta"):
        return create_classifier(name).eval()


def macs_of(changed: nn.Module) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        changed(torch.empty(1, 3, 224, 224, device="meta"))
    return counter.get_total_flops() / 2e9


def without(name: str, kind: type[nn.Module]) -> float:
    """Millions of parameters."""
    modules = [module for module in network(name).modules() if isinstance(module, kind)]
    return millions(name) - sum(p.numel() for own in modules for p in own.parameters()) / 1e6


def strides_in_the_1x1() -> float:
    changed = network("resnet50")
    for stage in (changed.layer2, changed.layer3, changed.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return macs_of(changed)


def no_projections() -> float:
    """Of what the projections take, without them the network would not fit together."""
    changed = network("resnet50")
    taken = 0.0
    for stage, side in zip(
        (changed.layer1, changed.layer2, changed.layer3, changed.layer4), (56, 28, 14, 7), strict=True
    ):
        taken += stage[0].downsample[0].weight.numel() * side**2 / 1e9
    return gmacs("resnet50") - taken


def in_layers() -> float:
    """Multiply-adds of modules alone, as counters see them that hook layers."""
    found, total = network("rtformer_base"), 0

    def add(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        total += layer.weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    for layer in found.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    found(torch.empty(1, 3, 224, 224, device="meta"))
    return total / 1e9


NUMBERS: dict[str, list[Callable[[], float]]] = {
    "resnet18": [lambda: without("resnet18", nn.Linear)],
    "resnet50": [lambda: without("resnet50", nn.Linear), strides_in_the_1x1, no_projections],
    "df1": [lambda: without("df1", nn.Linear)],
    "df2": [lambda: without("df2", nn.Linear), lambda: gmacs("df2")],
    "mobilenetv2": [lambda: without("mobilenetv2", nn.BatchNorm2d)],
    "mobilenetv3": [lambda: millions("mobilenetv3")],
    "rtformer_base": [in_layers],
}


@pytest.mark.parametrize("name", PAPER)
def test_every_number_of_an_explanation_is_counted(name: str) -> None:
    said = re.findall(r"(\d+\.\d\d) [MG]", PAPER[name].difference)
    assert said == [f"{number():.2f}" for number in NUMBERS.get(name, [])]


def test_what_is_cut_off_would_be_the_papers() -> None:
    def cut(number: float) -> float:
        return int(10 * number) / 10

    assert cut(gmacs("df2")) == PAPER["df2"].macs
    assert cut(without("mobilenetv2", nn.BatchNorm2d)) == PAPER["mobilenetv2"].parameters
    assert cut(millions("mobilenetv3")) == PAPER["mobilenetv3"].parameters
    for name in ("resnet18", "resnet50", "df1", "df2"):
        assert round(without(name, nn.Linear), 1) == PAPER[name].parameters
    assert round(in_layers(), 1) == PAPER["rtformer_base"].macs


# --- the command


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(steps: Any, conditions: Conditions, **others: Any) -> Any:
        return measure_together(steps, replace(conditions, warmup_seconds=0, rounds=2), **others)

    monkeypatch.setattr(table2_measure, "measure_together", quick)
    monkeypatch.setattr(command, "IMAGE_SIZE", 64)


@pytest.mark.usefixtures("_quick")
def test_it_measures_writes_and_fills_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, page = tmp_path / "new" / "table2.json", tmp_path / "page.md"
    threads = torch.get_num_threads()
    table2(["rtformer_slim", "df1"], seconds=0.01, batch_size=3, threads=1, device="cpu", output=output)
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert [(row["model"], row["batch_size"]) for row in found["networks"]] == [
        ("rtformer_slim", 1), ("rtformer_slim", 3), ("df1", 1), ("df1", 3),
    ]  # fmt: skip
    for row in found["networks"]:
        assert row["network"]["fps"] == pytest.approx(1000 * row["batch_size"] / row["network"]["median_ms"])
        assert (row["parameters"], row["macs"]) == count(row["model"], 64)
    assert found["paper"]["df1"]["top1"] == 69.8
    assert {"device", "torch", "git_commit", "date"} <= found["conditions"].keys()
    assert found["conditions"]["device"]["threads"] == 1

    page.write_text(f"above\n{BEGIN}\n{END}\nbelow\n")
    refresh(output, page)
    once = page.read_text()
    refresh(output, page)
    assert page.read_text() == once
    assert once.startswith("above\n")
    assert once.endswith(f"{END}\nbelow\n")
    latency = found["networks"][2]["network"]["median_ms"]
    throughput = found["networks"][3]["network"]["fps"]
    for text in (once, printed):
        line = next(line for line in text.splitlines() if re.match(r"(\| )?df1 ", line))
        for cell in ("8.0 M", "8.53 M", "0.7 G", "69.8", f"{latency:.2f} (", f" {throughput:.1f}"):
            assert cell in line
        assert "images/s, batch 3" in text
        assert "here at 64" in text
        assert f"- df1: {PAPER['df1'].difference}" in text
        assert "the accuracies are the paper's" in text
        assert found["conditions"]["date"] in text
        assert "doubt: fewer than 20 runs: " in text.replace("\n", "")

    found["networks"].reverse()  # as another command's rows might stand
    output.write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"was not written by .*not two rows a network"):
        refresh(output, page)
    assert page.read_text() == once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["df1", "resnet_18"]}, r"unknown classifier 'resnet_18'. Did you mean 'resnet18'\?"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"threads": 0}, "threads=0 must be a whole number"),
        ({"batch_size": 0}, "batch size=0 must be a whole number"),
        ({"seconds": 0}, "seconds=0 must be above 0"),
        ({"seconds": float("nan")}, "seconds=nan must be a finite number"),
        ({"names": ["df1"], "output": Path("table2.md")}, "'table2.md' must end in .json"),
        ({"names": ["df1"], "output": Path(__file__) / "x.json"}, "is a file; give another folder"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        table2(**{"output": tmp_path / "new" / "table2.json", **options})
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "table2.json"
    output.write_text("{}")
    with pytest.raises(UserError, match="exists; give another name for the result, or remove it"):
        table2(["df1"], output=output)
    assert output.read_text() == "{}"


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"conditions": {}, "networks": [], "ddrnet_protocol": []}'])
def test_another_file_does_not_reach_the_page(tmp_path: Path, content: str | None) -> None:
    results, page = tmp_path / "other.json", tmp_path / "page.md"
    if content is not None:
        results.write_text(content)
    page.write_text(f"{BEGIN}\nold\n{END}\n")
    with pytest.raises(UserError, match=r"other.json' was not written by `python -m pretrain table2`"):
        refresh(results, page)
    assert page.read_text() == f"{BEGIN}\nold\n{END}\n"


@pytest.mark.usefixtures("_quick")
def test_a_page_without_the_comments_is_refused(tmp_path: Path) -> None:
    output, page = tmp_path / "table2.json", tmp_path / "page.md"
    table2(["df1"], seconds=0.01, batch_size=1, device="cpu", output=output)
    page.write_text("nothing")
    with pytest.raises(UserError, match="must hold one line '<!-- table 2 begins"):
        refresh(output, page)


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(table2_measure, "measure_together", fail)
    monkeypatch.setattr(command, "IMAGE_SIZE", 32)
    with pytest.raises(UserError, match="give a smaller --batch-size"):
        table2(["df1"], device="cpu")
