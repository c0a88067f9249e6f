"""Comparisons of what is inserted into one network."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.models import create_model
from rtseg.models.weights import read_weights
from rtseg.speed.benchmark import count_macs, count_parameters
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import Timing
from rtseg.studies.compare import Plan, compare_insertions, insertion_command
from rtseg.studies.compare.insertions import choose_insertions
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import Row
from rtseg.studies.compare.scores import Scores
from rtseg.studies.runs.recipe import Recipe
from rtseg.studies.runs.task import SEGMENTATION
from rtseg.studies.runs.training import trainings
from rtseg.studies.runs.variant import Variant
from tests.helpers.command import check_refused, exit_status
from tests.helpers.compare import SPEED, cells, document
from tests.helpers.tables import check_whole

PLACES = {
    "layer3": FeatureInfo(64, 16), "layer4": FeatureInfo(128, 32),
    "fpn.p2": FeatureInfo(32, 4), "fpn.p3": FeatureInfo(32, 8),
}  # fmt: skip
FA = "fa:basis=16:heads=1"
ROW = f"stage[3-3]={FA}"  # as long a word as those of the first paper's tables


def chosen(*texts: str) -> tuple[Row, ...]:
    return choose_insertions(texts, PLACES, SEGMENTATION, "net", "none").rows


def names(*texts: str) -> list[str]:
    return [row.name for row in chosen(*texts)]


# --- rows


def test_nothing_inserted_is_always_the_first_row() -> None:
    both = f"layer3={FA} fpn.*=fa fpn.*=sa"
    assert names(both) == names(both, "none") == names("none", both) == ["none", both]
    base, row = chosen(both)
    assert (base.is_baseline, base.insert, row.is_baseline) == (True, {}, False)
    assert row.insert == {"layer3": (FA,), "fpn.*": ("fa", "sa")}
    assert (base.slug, row.slug) == ("none", "layer3fa-basis16-heads1-fpn.-fa-fpn.-sa")


def test_slugs_differ_and_are_not_longer_than_a_file_name() -> None:
    """Rows with one slug would share a training."""
    patterns = ["stage*", "stage?", "p[2-5]", "p[2,5]"]
    long = [{f"stages_{k}": (FA,) for k in range(number)} for number in (8, 9)]
    rows = [Row("none", insert=insert) for insert in [*({pattern: (FA,)} for pattern in patterns), *long]]
    assert len({row.slug for row in rows}) == len(rows)
    assert all(len(row.slug) < 140 for row in rows)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["layr3=fa"], "unknown place 'layr3'. Did you mean 'layer3'? Known: fpn.p2, fpn.p3, layer3, layer4."),
        (["layer3"], "--insert layer3: 'layer3' is not PLACE=ATTENTION; did you mean layer3=fa?"),
        (["table9"], "--insert table9: there is no table 'table9'. Did you mean 'table3'? Known: table1, "),
        ([""], "--insert '': '' is not PLACE=ATTENTION"),
        (["layer3="], "'layer3=' is not PLACE=ATTENTION"),
        (["none layer3=fa"], "'none' is a row of its own; give it as --insert none"),
        (["layer3=ca"], "--insert 'layer3=ca': attention 'ca' reads a second map"),
        (["layer3=af"], "--insert 'layer3=af': unknown attention 'af'"),
        (["layer3=fa:bases=2"], "Did you mean 'basis'?"),
        (["layer3=gfa+ca"], "names an attention for each of two branches"),
        (["layer3=fa", "layer3=fa"], "--insert layer3=fa is given twice"),
        (["table1", "table1"], "--insert table1 is given twice"),
        (["fpn.*=fa", "fpn.p3=fa:heads=2 fpn.p2=fa"], "is 'fpn.*=fa' once more"),
    ],
)
def test_bad_rows_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        chosen(*texts)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--insert", "stage3=fa", "--attention", "sa"], "--attention and --insert are two comparisons"),
        (["--insert", "stage33=fa"], "unknown place 'stage33'. Did you mean"),
        (["--insert", "stage3=fa:heads=7"], "heads=7"),
        (["--insert", "stage3=fa", "stage4=fa"], "give a row as --insert stage4=fa"),
        (["--insert", "stage3=fa", "--data", "DATA", "--epochs", "1", "--model.insert.stage3=sa"], "makes a row"),
        (["--model", "rtformer_slin", "--insert", "stage3=fa"], "unknown model 'rtformer_slin'"),
        (["--model", "test_resnet", "--insert", "layer3=fa"], "Did you mean 'timm:test_resnet'?"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: list[str], words: str, tiny_camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [str(tiny_camvid) if argument == "DATA" else argument for argument in arguments]
    check_refused(exit_status(main, "compare", "-o", str(tmp_path / "out"), *filled), words, capsys)
    assert not (tmp_path / "out").exists()


# --- scores


def test_a_difference_and_its_standard_error() -> None:
    """Gains 0.05, 0.01, 0.04: their mean is 1/30, their standard deviation 0.020817, and that over sqrt(3) 0.012019."""
    base, row = chosen("layer3=fa")
    values = {base: (0.50, 0.52, 0.54), row: (0.55, 0.53, 0.58)}
    found = {(own, seed): {"miou": value} for own, scores in values.items() for seed, value in enumerate(scores)}
    scores = Scores({"miou": "mIoU"}, found)
    own = scores.to_dict(row, base)
    assert own is not None
    assert own["miou"] == pytest.approx((0.55 + 0.53 + 0.58) / 3)
    assert own["miou_difference"] == pytest.approx(0.1 / 3)
    assert own["miou_difference_error"] == pytest.approx(0.0120185, abs=1e-7)
    difference, error = own["miou_difference"], own["miou_difference_error"]
    assert scores.cells(own) == [own["miou"], "0.5500, 0.5300, 0.5800", difference, error]
    assert (scores.to_dict(base, base) or {})["miou_difference_error"] is None
    short = replace(scores, found={key: value for key, value in found.items() if key != (base, 2)})
    own = short.to_dict(row, base)  # the third seed has no partner
    assert own is not None
    assert own["miou_difference"] == pytest.approx(0.03)
    alone = replace(scores, found={key: value for key, value in found.items() if key[1] == 0})
    assert (alone.to_dict(row, base) or {})["miou_difference_error"] is None


def test_a_training_inserts_its_row_alone(tiny_camvid: Path, tmp_path: Path) -> None:
    """Whatever the configuration inserts."""
    (tmp_path / "own.yaml").write_text("model: {insert: {stage4: fa}}\n")
    recipe = Recipe("rtformer_slim", tmp_path / "own.yaml", tiny_camvid, 1)
    variants = [Variant("gfa+ca"), Variant("gfa+ca", insert={}), Variant("gfa+ca", insert={"stage*": ("fa", "sa")})]
    commands = [recipe.command(training) for training in trainings(variants, [0], tmp_path)]
    inserted = [[word for word in command if word.startswith("--model.insert")] for command in commands]
    assert inserted == [[], ["--model.insert={}"], ['--model.insert={"stage*": ["fa", "sa"]}']]


# --- a whole comparison


STEADY = asdict(Timing.of([10.0] * 20, batch_size=1, warmup_iterations=1))
NETWORK = {
    "parameters": 10**6, "macs": 10**9, "peak_memory_bytes": 3 * 2**20, "class_map": STEADY, "network": STEADY,
    "refused": None, "best": None,
}  # fmt: skip
CONDITIONS = {"torch": "2", "device": {"name": "a processor"}, "git_commit": None, "date": "today"}


def speed_of(rows: Sequence[Row], file: Path, model: str, num_classes: int, *rest: Any) -> dict[str, Any]:
    """In place of the measurement, which takes seconds: all networks are alike."""
    asked = {"model": model, "num_classes": num_classes, "input_size": [64, 96], "best_backend": None}
    networks = {row.name: NETWORK for row in rows}
    return {"asked": asked, "conditions": CONDITIONS, "protocol": {}, "doubts": [], "networks": networks}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """A row beside nothing inserted, without trainings."""
    folder = tmp_path_factory.mktemp("insertions") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insertion_command, "measure_speed", speed_of)
        return compare_insertions([ROW], folder, model="rtformer_slim", **SPEED), folder


@pytest.mark.slow
def test_costs_are_those_of_the_networks(tmp_path: Path) -> None:
    compare_insertions([ROW], tmp_path, model="rtformer_slim", **SPEED)
    base, row = document(tmp_path)["rows"]
    for found in (base, row):
        network = create_model("rtformer_slim", 11, insert=found["insert"])
        assert found["parameters"] == count_parameters(network)
        assert found["macs"] == count_macs(network, (64, 96))
        assert found["memory_bytes"] > 0
    assert base["fps_ratio"]["class_map"] == 1


def test_the_table_says_what_is_compared(measured: tuple[Comparison, Path]) -> None:
    comparison, folder = measured
    base, row = document(folder)["rows"]
    assert (base["name"], row["name"]) == ("none", ROW)
    assert (base["insert"], row["insert"]) == ({}, {"stage[3-3]": [FA]})
    assert comparison.table().title.startswith("Insertions compared in rtformer_slim gfa+ca: ")
    assert "times: FPS over that of none" in comparison.conditions()
    assert cells(comparison)["none"]["memory"] == "3 MiB"
    assert ROW in (folder / "compare.svg").read_text()


def test_scores_are_drawn_with_names_where_ratios_are_withheld(measured: tuple[Comparison, Path]) -> None:
    trained = {"seeds": {"0": {"miou": 0.5}}}
    rows = document(measured[1])["rows"]
    assert ROW in plot([row | {"fps_ratio": dict.fromkeys(row["fps_ratio"]), "trained": trained} for row in rows])


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(measured: tuple[Comparison, Path], width: int) -> None:
    comparison = measured[0]
    check_whole(comparison.table(), width)
    scores = {(row, seed): {"miou": 0.5 + seed / 100} for row in comparison.rows for seed in range(3)}
    check_whole(replace(comparison, scores=scores).table(), width)
    long = [
        replace(row, insert={"fpn.p[2-5]": (FA.replace("16", "64"),)} if row.insert else {}) for row in comparison.rows
    ]
    networks = dict(zip((row.name for row in long), comparison.speed["networks"].values(), strict=True))
    scores = {(row, seed): {"miou": 0.5 + seed / 100} for row in long for seed in range(3)}
    check_whole(
        replace(comparison, rows=long, speed={**comparison.speed, "networks": networks}, scores=scores).table(), width
    )


@pytest.mark.slow
def test_trainings_of_a_network_of_timm(tiny_camvid: Path, tmp_path: Path) -> None:
    """Two seeds each of nothing, one place and a pattern; the configuration inserts something else."""
    config = tmp_path / "own.yaml"
    settings: dict[str, Any] = {
        "model": {"insert": {"layer1": "sa"}, "head": "semantic_fpn"},
        "data": {"dataset": "camvid", "root": "nowhere", "batch_size": 3, "crop_size": [32, 48], "num_workers": 0},
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 1},
    }
    config.write_text(json.dumps(settings))
    folder = tmp_path / "study"
    rows = [f"layer3={FA}", f"fpn.*={FA}"]
    comparison = compare_insertions(
        rows,
        folder,
        model="timm:resnet18",
        num_classes=11,
        conditions=Conditions(sizes=[(64, 64)], device="cpu", threads=1, seconds=0.05),
        plan=Plan(Recipe("timm:resnet18", config, tiny_camvid, 1), seeds=2, jobs=2),
        ratios=True,
    )
    found = document(folder)["rows"]
    assert [row["name"] for row in found] == ["none", *rows]
    assert [list(read_weights(folder / f"{row.slug}_seed1" / "last.ckpt")[0].insert) for row in comparison.rows] == [
        [], ["layer3"], ["fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5"],
    ]  # fmt: skip
    base = found[0]["trained"]["seeds"]
    for row in found[1:]:
        trained = row["trained"]
        gains = [trained["seeds"][seed]["miou"] - base[seed]["miou"] for seed in ("0", "1")]
        assert trained["miou_difference"] == pytest.approx(sum(gains) / 2)
        assert trained["miou_difference_error"] == pytest.approx(abs(gains[0] - gains[1]) / 2)
        assert row["memory_bytes"] > 0
    assert cells(comparison)[rows[0]]["standard error"]
