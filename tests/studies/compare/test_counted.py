"""`rtseg instances compare` and `rtseg stereo compare`: what insertions add to networks that no engine runs."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.scenes import make_data
from rtseg.speed.conditions import Conditions
from rtseg.studies.compare import compare_counted, costs
from rtseg.studies.compare.insertion_report import InsertionReport
from rtseg.studies.compare.paper import FA, NL
from rtseg.studies.places import PlaceCost
from rtseg.studies.runs.task import INSTANCES, STEREO
from rtseg.terminal import Console
from tests.helpers.command import check_refused, exit_status
from tests.helpers.compare import document
from tests.helpers.tables import check_whole

QUICK: dict[str, Any] = {"device": "cpu", "threads": 1, "seconds": 0.01, "rounds": 2, "warmup_seconds": 0}
CONDITIONS = Conditions(sizes=[(32, 64)], **QUICK)
EXTRA = "layer2=fa layer4=fa:basis=16"


def costs_of(
    places: Mapping[str, FeatureInfo], attentions: Sequence[str], size: tuple[int, int], *rest: Any
) -> list[PlaceCost]:
    """In place of the measurement, which takes a process a figure: `nl` does not fit, the others take a millisecond a
    channel.
    """
    return [
        PlaceCost(
            place=place, attention=text, channels=info.channels, stride=info.stride,
            map_size=(size[0] // info.stride, size[1] // info.stride), parameters=10 * info.channels,
            macs=info.channels * 10**9, floats=1, peak_bytes=info.channels * 10**6, measured=not text.startswith("nl"),
            median_ms=None if text.startswith("nl") else float(info.channels), time_exponent=1.0, memory_exponent=1.0,
            largest=(64, 128), reason="not run: it is large" if text.startswith("nl") else "",
        )
        for place, info in places.items()
        for text in attentions
    ]  # fmt: skip


@pytest.fixture
def not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "measure_places", costs_of)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[InsertionReport, Path]:
    folder = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "measure_places", costs_of)
        return compare_counted(["table6", EXTRA], folder, STEREO, conditions=CONDITIONS, limit=10**9), folder


def cells(report: InsertionReport) -> dict[str, dict[str, str]]:
    """Row -> heading -> cell."""
    table = report.table().without_empty()
    headings = [column.title for column in table.columns]
    return {row[0]: dict(zip(headings, row, strict=True)) for row in table.texts()}


def test_what_is_inserted_adds_up(counted: tuple[InsertionReport, Path]) -> None:
    """layer2 has 64 channels and layer4 128; both images of a pair are seen."""
    rows = {row["name"]: row for row in document(counted[1])["rows"]}
    assert list(rows) == ["none", f"layer4={FA}", f"layer4={NL}", EXTRA]
    assert rows["none"]["parameters"] == 5_224_768
    assert rows["none"]["added"] == {"parameters": 0, "macs": 0, "peak_bytes": 0, "measured": True, "median_ms": 0}
    assert rows[f"layer4={NL}"]["added"]["median_ms"] is None
    assert rows[EXTRA]["added"] == {
        "parameters": 1920, "macs": 2 * 192 * 10**9, "peak_bytes": 128 * 10**6, "measured": True,
        "median_ms": 2 * 192.0,
    }  # fmt: skip
    assert rows[f"layer4={FA}"]["paper_figures"] == [
        {"table": 6, "row": "FA-PSMNet", "scores": {"epe": 0.477}, "said": "-"}
    ]


def test_the_table_and_the_drawing(counted: tuple[InsertionReport, Path]) -> None:
    report, folder = counted
    own = cells(report)
    assert own["none"]["paper's EPE"] == "1.09 (Table 6, PSMNet (original)); 0.513 (Table 6, PSMNet (baseline))"
    assert own[f"layer4={NL}"]["paper's EPE"] == "OOM (Table 6, Nonlocal-PSMNet)"
    assert (own[f"layer4={NL}"]["added ms"], own[f"layer4={NL}"]["memory"]) == ("—", "128.0 MB computed")
    assert f"{NL} at layer4: not run: it is large" in report.remarks()
    for width in (80, 120):
        check_whole(report.table(), width)
    page = (folder / "compare.md").read_text()
    assert "for the 2 images of a sample" in page
    ElementTree.parse(folder / "compare.svg")


def test_called_again_it_measures_nothing(
    counted: tuple[InsertionReport, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "measure_places", None)
    again = compare_counted(["table6", EXTRA], counted[1], STEREO, conditions=CONDITIONS, limit=10**9)
    assert again.to_dict() == counted[0].to_dict()
    (tmp_path / "places.json").write_text("{}")
    with pytest.raises(UserError, match=r"places\.json' was not written by a comparison"):
        compare_counted(["table6"], tmp_path, STEREO, conditions=CONDITIONS, limit=10**9)


@pytest.mark.usefixtures("not_measured")
def test_table_1_has_a_line_for_each_place_and_attention(tmp_path: Path) -> None:
    conditions = Conditions(sizes=[(64, 64)], **QUICK)
    options = {"channels": 16}
    report = compare_counted(
        ["table1"], tmp_path, INSTANCES, model="mask_rcnn_resnet18", options=options, conditions=conditions
    )
    rows, places = report.tables()
    assert len(rows.rows) == 11
    assert [line[:2] for line in places.texts()][:4] == [
        ["layer3 (res_3)", FA], ["layer3 (res_3)", NL], ["layer4 (res_4)", FA], ["layer4 (res_4)", NL],
    ]  # fmt: skip
    assert len(places.rows) == 14
    assert report.remarks() == []  # the table of places says why `nl` was not run
    assert "Attention at places" in (tmp_path / "compare.md").read_text()
    found = {row["name"]: row["added"]["parameters"] for row in document(tmp_path)["rows"]}
    assert found[f"layer4={FA}"] == 5120
    assert found[f"fpn.*={FA}"] == 5 * 160
    scores = {name: 0.5 for name in INSTANCES.scores}
    trained = replace(report, scores={(row, seed): scores for row in report.insertions.rows for seed in range(3)})
    for width in (80, 120):
        check_whole(trained.table(), width)


@pytest.mark.slow
@pytest.mark.usefixtures("not_measured")
def test_each_body_is_counted(tmp_path: Path) -> None:
    report = compare_counted(["table4"], tmp_path, INSTANCES, conditions=Conditions(sizes=[(64, 64)], **QUICK))
    rows = document(tmp_path)["rows"]
    assert [row["model"] for row in rows][::2] == [
        "mask_rcnn_resnet50", "mask_rcnn_resnet101", "mask_rcnn_resnext101_32x8d",
    ]  # fmt: skip
    assert len({row["parameters"] for row in rows}) == 6
    assert len(report.costs.found) == 7  # the maps of all bodies are alike


@pytest.mark.slow
def test_bodies_with_other_places_are_not_compared(tmp_path: Path) -> None:
    model = "mask_rcnn_timm:regnety_002"
    with pytest.raises(UserError, match=f"has other places than {model}: leave --model out"):
        compare_counted(["table4"], tmp_path, INSTANCES, model=model)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("instances compare --insert layer5=fa", "unknown place 'layer5'. Did you mean"),
        ("instances compare --insert table6", "`rtseg stereo compare`"),
        ("instances compare --insert table1 --memory 0", "--memory 0.0 must be from 0.001 to 1000000"),
        ("instances compare --insert table1 --memory nan", "--memory nan must be from 0.001 to 1000000"),
        ("instances compare --model mask_rcnn_resnet51", "mask_rcnn_resnet50"),
        ("stereo compare --insert layer4=ca", "reads a second map"),
        ("stereo compare --inset layer4=fa", "Did you mean '--insert'?"),
        ("stereo compare --config psmnet_dem", "psmnet_demo"),
        ("stereo compare --data /nowhere --epochs 1", "--data /nowhere: no such folder"),
        ("stereo compare --epochs 1", "--data DIR"),
        ("instances compare --data / --epochs 1 --model.name=x", "'--model.name' is set by the comparison"),
    ],
)
def test_bad_input_ends_in_one_line(
    command: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused(exit_status(main, *command.split(), "-o", str(tmp_path / "out")), words, capsys)
    assert not (tmp_path / "out").exists()


def test_kept_costs_are_said_to_be(not_measured: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("measuring attentions at their places", f"to measure again, remove {tmp_path / 'places.json'}"):
        compare_counted([EXTRA], tmp_path, STEREO, conditions=CONDITIONS, limit=10**9)
        assert said in capsys.readouterr().err


def test_of_an_added_row_only_what_is_new_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a place has the map of another, and where a row was left out in between."""
    measured: list[tuple[str, str]] = []
    maps = {"layer2": FeatureInfo(64, 4), "layer3": FeatureInfo(128, 4), "layer4": FeatureInfo(128, 4)}

    def spy(places: Mapping[str, FeatureInfo], attentions: Sequence[str], *rest: Any) -> list[PlaceCost]:
        measured.extend((place, text) for place in places for text in attentions)
        return costs_of(places, attentions, *rest)

    def cost(*rows: str, conditions: Conditions = CONDITIONS) -> costs.Costs:
        measured.clear()
        placed = [costs.Placed(place, maps[place], text) for place, text in (row.split("=") for row in rows)]
        return costs.measure_costs(placed, tmp_path / "kept.json", (32, 64), 10**9, conditions, Console(stderr=True))

    monkeypatch.setattr(costs, "measure_places", spy)
    first = cost("layer2=fa")
    assert measured == [("layer2", "fa")]
    whole = cost("layer2=fa", "layer2=nl", "layer3=fa", "layer4=fa")
    assert measured == [("layer2", "nl"), ("layer3", "fa")]
    assert [(own.place, own.attention) for own in whole.found][1:] == measured
    assert whole.found[0] == first.found[0]
    (note,) = whole.notes()
    assert note.count("commit ") == 2
    assert "; more later: commit " in note
    assert "costs as measured on" in capsys.readouterr().err
    assert [own.place for own in cost("layer4=fa").found] == ["layer4"]
    assert cost("layer2=fa", "layer2=nl", "layer3=fa", "layer4=fa") == whole
    assert measured == []
    cost("layer2=fa", "layer2=nl", conditions=replace(CONDITIONS, seconds=0.02))
    assert len(measured) == 2


# --- trainings


@pytest.mark.slow
def test_stereo_is_trained(tmp_path: Path) -> None:
    """psmnet_demo counts its length in steps; a comparison gives it epochs."""
    data = make_data("sceneflow", 4, tmp_path / "data", n_val=2, size=(64, 128), seed=1)
    words = ["--data", str(data), "--epochs", "2", "--seeds", "2", "--jobs", "2", "--seconds", "0.05"]
    words += ["--data.batch_size=2", "--data.crop_size=[32,64]", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    folder = tmp_path / "out"
    insert = f"layer4={FA}"
    assert (
        exit_status(
            main, "stereo", "compare", "--insert", insert, *words, "--input-size", "32", "64", "-o", str(folder)
        )
        == 0
    )
    base, row = document(folder)["rows"]
    gains = [row["trained"]["seeds"][seed]["epe"] - base["trained"]["seeds"][seed]["epe"] for seed in ("0", "1")]
    assert row["trained"]["epe_difference"] == pytest.approx(sum(gains) / 2)
    assert row["trained"]["epe_difference_error"] == pytest.approx(abs(gains[0] - gains[1]) / 2)
    assert row["added"]["median_ms"] > 0


@pytest.mark.slow
def test_instances_are_trained(tmp_path: Path) -> None:
    data = make_data("coco", 8, tmp_path / "data", n_val=4, size=(64, 80), seed=3)
    config = tmp_path / "own.yaml"
    options = {"channels": 16, "sizes": [64], "longest": 80, "norm": "batch", "trainable": 5, "proposals": 20}
    settings: dict[str, Any] = {
        "model": {"name": "mask_rcnn_resnet18", "options": options, "insert": {"layer1": "sa"}},
        "data": {"root": "nowhere", "batch_size": 2, "num_workers": 0},
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 1},
    }
    config.write_text(json.dumps(settings))
    folder = tmp_path / "out"
    words = ["--data", str(data), "--epochs", "1", "--config", str(config), "--seconds", "0.05"]
    words += ["--insert", "layer4=fa:basis=8:heads=1", "--input-size", "64", "64", "-o", str(folder)]
    assert exit_status(main, "instances", "compare", *words) == 0
    base, row = document(folder)["rows"]
    assert (base["model"], row["insert"]) == ("mask_rcnn_resnet18", {"layer4": ["fa:basis=8:heads=1"]})
    for name in ("box_ap", "mask_ap"):
        assert 0 <= row["trained"][name] <= 1
        assert row["trained"][f"{name}_difference"] == pytest.approx(row["trained"][name] - base["trained"][name])
