"""The best engine of a machine beside eager PyTorch."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rtseg.deploy.engines import BF16, best_backend
from rtseg.deploy.engines.eager import Eager
from rtseg.studies.compare import compare, speed
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.report import Comparison
from tests.helpers.compare import SPEED, cells, changed, document, tips
from tests.helpers.tables import check_whole

BEST = "eager:bf16"


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """A comparison with a best engine, one that needs no export; nothing is trained."""
    folder = tmp_path_factory.mktemp("best") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "best_backend", lambda device: BEST)
        return compare(["ea:ratio=1"], folder, **SPEED), folder


def best_note(comparison: Comparison) -> str:
    """What says which engine it is."""
    return next(note for note in comparison.conditions() if note.startswith("eager: "))


def test_the_best_engine_stands_beside_eager(best: tuple[Comparison, Path]) -> None:
    comparison, folder = best
    base, row = document(folder)["rows"]
    for found in (base, row):
        speed = comparison.speed["networks"][found["name"]]
        assert found["class_map"] == speed["class_map"] != speed["best"]["class_map"] == found["best_class_map"]
        assert (speed["backend"], speed["best"]["backend"]) == ("eager:fp32", BEST)
        assert (speed["attention"], speed["best"]["attention"]) == (found["attention"], found["attention"])
        assert found["best"] == {key: speed["best"][key] for key in ("backend", "engine", "parity", "refused")}
        assert (found["best"]["parity"]["passed"], found["best"]["refused"], found["refused"]) == (True, None, None)
    assert base["fps_ratio"]["best_class_map"] == 1
    ratio = base["best_class_map"]["median_ms"] / row["best_class_map"]["median_ms"]
    assert row["fps_ratio"]["best_class_map"] == pytest.approx(ratio)
    own = cells(comparison)["ea:ratio=1"]
    assert own["best ms"] == f"{row['best_class_map']['median_ms']:.1f}"
    assert own["best FPS"] == f"{row['best_class_map']['fps']:.1f}"
    assert own["best times"] == f"{ratio:.2f}"
    assert own["paper FPS"] == "180.8"
    assert tips(comparison).count(f"image → class map, best engine here: {ratio:.4g}") >= 1
    assert sum("best engine" in tip for tip in tips(comparison)) == 2
    assert "image → class map, best engine here" in (folder / "compare.svg").read_text()


def test_the_best_engine_is_named_in_the_notes(best: tuple[Comparison, Path]) -> None:
    comparison = best[0]
    assert f"best: image → class map on {BEST}, the fastest" in best_note(comparison)
    openvino = changed(comparison, "gfa+ca", {"engine": {"backend": "openvino", "openvino": "2025.3.0"}})
    openvino = replace(
        openvino, speed={**openvino.speed, "asked": {**openvino.speed["asked"], "best_backend": "openvino"}}
    )
    assert "on openvino (2025.3.0), the" in best_note(openvino)
    networks = {**openvino.speed["networks"], "gfa+ca": None}
    assert "on openvino, the" in best_note(replace(openvino, speed={**openvino.speed, "networks": networks}))


@pytest.mark.slow
def test_a_row_that_the_best_engine_gets_wrong_has_no_time_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "best_backend", lambda device: BEST)
    monkeypatch.setitem(Eager.precisions, "bf16", replace(BF16, most_logits_error=-1.0))
    comparison = compare(["ea:ratio=1"], tmp_path, **SPEED)
    for row in document(tmp_path)["rows"]:
        assert row["class_map"]["fps"] > 0
        assert (row["best_class_map"], row["fps_ratio"]["best_class_map"]) == (None, None)
        assert row["best"]["parity"]["passed"] is False
        assert row["best"]["refused"].startswith("logits differ by")
        own = cells(comparison)[row["name"]]
        assert (own["best ms"], own["best FPS"], own.get("best times")) == ("refused", "—", None)
        assert f"{row['name']}, class map, best engine: refused: {row['best']['refused']}" in comparison.remarks()
        assert own["eager FPS"] == f"{row['class_map']['fps']:.1f}"
    assert "best engine" not in (tmp_path / "compare.svg").read_text()


@pytest.mark.parametrize("name", ["gfa+ca", "ea:ratio=1"])
def test_a_refusal_is_of_its_row_and_engine_alone(best: tuple[Comparison, Path], name: str) -> None:
    """Without the baseline there is nothing to hold others against."""
    nothing = {"class_map": None, "network": None, "refused": "too far"}
    without = changed(best[0], name, nothing)
    other = next(row for row in cells(without) if row != name)
    assert cells(without)[name]["best ms"] == "refused"
    assert f"{name}, class map, best engine: refused: too far" in without.remarks()
    assert cells(without)[other]["best ms"] != "refused"
    assert cells(without)[other].get("best times", "—") == ("—" if name == "gfa+ca" else "1.00")
    assert sum("best engine" in tip for tip in tips(without)) == (0 if name == "gfa+ca" else 1)
    eager = changed(best[0], name, None, **nothing)
    own = cells(eager)[name]
    assert (own["eager ms"], own["eager FPS"], own["alone ms"]) == ("refused", "—", "refused")
    assert f"{name}, network: refused: too far" in eager.remarks()
    assert own["best ms"] != "refused"
    assert own["params"] == cells(best[0])[name]["params"]
    assert "does not fit" not in eager.markdown()
    ElementTree.fromstring(plot(eager.drawn()))


def test_few_runs_on_the_best_engine_are_doubted(best: tuple[Comparison, Path]) -> None:
    few = changed(
        best[0], "ea:ratio=1", {"class_map": {**best[0].speed["networks"]["ea:ratio=1"]["class_map"], "iterations": 7}}
    )
    assert any("ea:ratio=1, class map, best engine (7)" in doubt for doubt in few.to_dict()["doubts"])


@pytest.mark.slow
def test_another_best_engine_is_another_measurement(best: tuple[Comparison, Path], tmp_path: Path) -> None:
    """As where it was uninstalled, and there is none: then nothing is said of one."""
    (tmp_path / "speed.json").write_text((best[1] / "speed.json").read_text())
    comparison = compare(["ea:ratio=1"], tmp_path, **SPEED)
    assert comparison.speed["asked"]["best_backend"] is None
    for row in document(tmp_path)["rows"]:
        assert (row["best"], row["best_class_map"], row["fps_ratio"]["best_class_map"]) == (None, None, None)
        assert row["fps_ratio"]["class_map"]
    assert {len(row) for row in cells(comparison).values()} == {12}
    assert {len(row) for row in cells(best[0]).values()} == {15}
    for file in ("compare.md", "compare.svg"):
        assert "best" not in (tmp_path / file).read_text()
    assert best_note(comparison).endswith("the network of that")


def test_a_network_that_does_not_fit_has_a_row_as_long_as_the_others(best: tuple[Comparison, Path]) -> None:
    networks = {**best[0].speed["networks"], "ea:ratio=1": None}
    without = replace(best[0], speed={**best[0].speed, "networks": networks})
    assert cells(without)["ea:ratio=1"]["params"] == "—"
    assert "ea:ratio=1: does not fit into memory" in without.remarks()
    assert cells(without)["ea:ratio=1"]["paper FPS"] == "180.8"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(best: tuple[Comparison, Path], width: int) -> None:
    check_whole(best[0].table(), width)


@pytest.mark.slow
def test_the_best_engine_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = best_backend(torch.device("cpu"))
    if name is None:
        pytest.skip("no engine beside PyTorch here")
    monkeypatch.setattr(speed, "best_backend", best_backend)
    comparison = compare(["sa"], tmp_path, **SPEED)
    for row in comparison.to_dict()["rows"]:
        assert row["best"]["backend"].startswith(name)
        assert row["best_class_map"]["fps"] > 0
    assert f"image → class map on {name} (" in best_note(comparison)
