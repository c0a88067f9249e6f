"""The rows of Table 3, their speed beside the paper's, and trainings that go on where they stopped."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from rtseg.cli import main
from rtseg.deploy.engines import best_backend
from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import backbone_options
from rtseg.models.weights import read_weights
from rtseg.speed import parity, timing
from rtseg.speed.benchmark import Candidate, Case, count_macs
from rtseg.studies.compare import command, compare
from rtseg.studies.compare.command import _fits
from rtseg.studies.compare.plot import draw
from rtseg.studies.compare.recipe import Recipe, _interval, check_recipe
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import TABLE3, Row, choose_rows
from rtseg.studies.compare.trainings import explain, locked, train, trainings
from rtseg.studies.report.metrics_log import read_log

TINY = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2}
CONFIG = f"""
model: {{options: {json.dumps(TINY)}, ema_decay: 0.9, optim: {{warmup_steps: 2}}}}
data: {{dataset: camvid, root: nowhere, batch_size: 3, crop_size: [32, 48], num_workers: 0}}
trainer: {{accelerator: cpu, max_steps: 7, check_val_every_n_epoch: 5, log_every_n_steps: 1}}
fps: {{seconds: 0.05}}
"""


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Eager PyTorch alone, so that no network is exported; tests of the best engine set one. No warm-up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "best_backend", lambda device: None)
        patch.setattr(timing, "warm_up", lambda run, seconds: 0)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(CONFIG)
    return file


BEST = "eager:bf16"
SPEED: dict[str, Any] = {"input_size": (64, 96), "num_classes": 11, "device": "cpu", "threads": 1, "seconds": 0.05}


def settings(data: Path, config: Path, **changes: Any) -> dict[str, Any]:
    return SPEED | {"data": data, "config": config, "epochs": 2} | changes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_camvid: Path, config: Path) -> tuple[Comparison, Path]:
    """One row that is asked for, and the baseline; two seeds each, two trainings at a time."""
    folder = tmp_path_factory.mktemp("compare") / "new"
    return compare(["ea:ratio=1"], folder, **settings(tiny_camvid, config, seeds=2, jobs=2)), folder


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """A comparison with a best engine, one that needs no export; nothing is trained."""
    folder = tmp_path_factory.mktemp("best") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "best_backend", lambda device: BEST)
        return compare(["ea:ratio=1"], folder, **SPEED), folder


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "compare.json").read_text())


# --- rows


def test_table_3_is_the_papers() -> None:
    """Names as the paper has them -> FPS, mIoU."""
    paper = {
        "sa": (97.4, 32.7),
        "ea:ratio=0.125": (196.9, 31.9),
        "ea:ratio=0.25": (189.6, 32.0),
        "ea:ratio=1": (180.8, 32.2),
        "ea:ratio=1 base_channels=36 head_channels=64": (134.8, 32.8),
        "la:grid=16+la:grid=64": (167.6, 32.4),
        "na:landmarks=32": (77.6, 32.9),
        "na:landmarks=64": (72.2, 33.0),
        "gfa": (189.8, 32.8),
        "gfa+ca": (187.9, 33.0),
    }
    assert {row.name: (row.paper_fps, row.paper_miou) for row in TABLE3 if row.paper_fps} == paper
    assert len({row.slug for row in TABLE3}) == len(TABLE3)
    assert choose_rows([], "rtformer_slim") == TABLE3


@pytest.mark.parametrize("row", TABLE3, ids=lambda row: row.slug)
def test_every_row_is_a_network(row: Row) -> None:
    with torch.device("meta"):
        create_model("rtformer_slim", 150, attention=row.attention, **row.options)


def test_the_papers_figures_stand_beside_its_network_however_it_is_spelled() -> None:
    rows = choose_rows(
        ["sa:reduction=1+sa:reduction=4", "gfa+ca:cross_size=8", "gfa+ca:cross_size=12"], "rtformer_slim"
    )
    assert [row.paper_fps for row in rows] == [97.4, 187.9, None]
    assert [row.is_baseline for row in rows] == [False, True, False]
    (wide,) = choose_rows(["gfa:groups=8+ca:cross_size=12"], "rtformer_base")
    assert (wide.is_baseline, wide.paper_fps) == (True, None)
    assert [row.paper_fps for row in choose_rows(["sa"], "rtformer_base")] == [None, None]
    assert all(row.paper_fps is None and not row.options for row in choose_rows([], "rtformer_base"))


def test_the_baseline_is_always_there_and_nothing_twice() -> None:
    assert [row.name for row in choose_rows(["sa", "gfa"], "rtformer_slim")] == ["gfa+ca", "sa", "gfa"]
    assert [row.name for row in choose_rows(["sa", "gfa+ca"], "rtformer_slim")] == ["sa", "gfa+ca"]
    with pytest.raises(UserError, match=r"--attention sa\+sa is sa once more"):
        choose_rows(["sa", "sa+sa"], "rtformer_slim")
    with pytest.raises(UserError, match="unknown attention 'se'"):
        choose_rows(["se"], "rtformer_slim")


def test_a_model_without_attention_is_refused() -> None:
    for model in list_models():
        if "cross_size" not in backbone_options(model):
            with pytest.raises(UserError, match=f"--model {model} has no attention to compare; give rtformer_slim"):
                choose_rows([], model)


# --- a whole comparison


def test_costs_and_ratios_are_those_of_the_networks(done: tuple[Comparison, Path]) -> None:
    base, row = document(done[1])["rows"]
    assert (base["name"], row["name"]) == ("gfa+ca", "ea:ratio=1")
    for found in (base, row):
        network = create_model("rtformer_slim", 11, attention=found["attention"])
        used = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.aux_head.parameters())
        assert found["parameters"] == used
        assert found["macs"] == count_macs(network, (64, 96))
    for figure in ("class_map", "network"):
        assert base["fps_ratio"][figure] == 1
        assert row["fps_ratio"][figure] == pytest.approx(base[figure]["median_ms"] / row[figure]["median_ms"])
    assert row["paper"] == {"fps": 180.8, "fps_ratio": pytest.approx(180.8 / 187.9), "miou": 32.2}


def test_scores_are_those_of_the_last_epoch(done: tuple[Comparison, Path]) -> None:
    found = document(done[1])
    means = []
    for row in found["rows"]:
        seeds = {}
        for seed in (0, 1):
            log = read_log(done[1] / f"{row['name'].replace(':', '-').replace('=', '')}_seed{seed}" / "metrics.csv")
            scored = log.points("val/miou")
            assert [step for step, _ in scored] == [2, 5]  # three steps an epoch; the last epoch is scored
            seeds[str(seed)] = scored[-1][1]
        assert {seed: score["miou"] for seed, score in row["trained"]["seeds"].items()} == seeds
        assert seeds["0"] != seeds["1"]
        means.append(mean(seeds.values()))
        assert row["trained"]["miou"] == pytest.approx(means[-1])
    assert found["rows"][1]["trained"]["miou_difference"] == pytest.approx(means[1] - means[0])


def test_the_noise_between_seeds_is_pooled() -> None:
    rows = choose_rows(["sa"], "rtformer_slim")
    scores = {(rows[0], 0): 0.5, (rows[0], 1): 0.52, (rows[1], 0): 0.4, (rows[1], 1): 0.44}
    comparison = Comparison(rows, {}, None, {key: {"miou": value} for key, value in scores.items()})
    assert comparison.seed_noise() == pytest.approx((((0.02**2 + 0.04**2) / 2) / 2) ** 0.5)
    assert replace(comparison, scores={(rows[0], 0): {"miou": 0.5}}).seed_noise() is None


def test_table_and_plot_hold_every_row(done: tuple[Comparison, Path]) -> None:
    folder = done[1]
    lines = (folder / "compare.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert {len(line) for line in cells} == {15}
    assert len(set(cells[0])) == 15
    assert any("512x512 on an RTX 2080 Ti" in line for line in lines)
    assert [line[0] for line in cells[2:]] == ["gfa+ca", "ea:ratio=1"]
    assert cells[3][-1] == f"{document(folder)['rows'][1]['trained']['miou_difference']:+.4f}"
    assert any("standard deviation" in line for line in lines)
    dots = ElementTree.parse(folder / "compare.svg").iter("{http://www.w3.org/2000/svg}circle")
    # Two figures here and one of the paper for each of two rows, two seeds for each; four kinds in the legends.
    assert sum(1 for _ in dots) == 2 * (2 + 1) + 2 * 2 + 4


def test_called_again_it_measures_and_trains_nothing(
    done: tuple[Comparison, Path],
    tiny_camvid: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = document(done[1])
    files = sorted(done[1].glob("*_seed*/*"))
    times = [file.stat().st_mtime_ns for file in files]
    commented = config.with_name("commented.yaml")
    commented.write_text(f"# the same settings\n{CONFIG}")
    compare(["ea:ratio=1"], done[1], **settings(tiny_camvid, commented, seeds=2, jobs=2))
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1]) == document(done[1]) == before
    (line,) = (line for line in printed.err.splitlines() if "remove" in line)
    conditions = before["conditions"]
    for words in (conditions["date"], f"commit {conditions['git_commit'] or 'unknown'}", *before["doubts"]):
        assert words in line
    assert [file.stat().st_mtime_ns for file in files] == times
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    compare(["ea:ratio=1"], done[1], **settings(tiny_camvid, commented, seeds=2, jobs=2))
    printed = capsys.readouterr()
    assert "Attention, compared" in printed.out
    assert '{"conditions"' not in printed.out  # JSON would hide the table


def test_figures_of_few_runs_are_doubted(done: tuple[Comparison, Path]) -> None:
    comparison, own = done[0], {"doubts": ["drifted"]}
    networks = {
        name: network | {figure: network[figure] | {"iterations": 20} for figure in ("class_map", "network")}
        for name, network in comparison.speed["networks"].items()
    }
    assert replace(comparison, speed={**comparison.speed, **own, "networks": networks}).to_dict()["doubts"] == [
        "drifted"
    ]
    networks["gfa+ca"]["network"]["iterations"] = 19
    found = replace(comparison, speed={**comparison.speed, **own, "networks": networks})
    doubt = "fewer than 20 runs: gfa+ca (network: 19); give more --seconds"
    assert found.to_dict()["doubts"] == ["drifted", doubt]
    assert f"- doubt: {doubt}\n" in found.markdown()


def test_trainings_do_not_time(done: tuple[Comparison, Path]) -> None:
    """Though their configuration has settings for it."""
    folders = list(done[1].glob("*_seed*"))
    assert len(folders) == 4
    for folder in folders:
        assert not (folder / "speed.json").exists()
        assert "speed/fps" not in (folder / "metrics.csv").read_text().splitlines()[0]


def test_validations_end_with_the_last_epoch() -> None:
    for epochs in range(1, 200):
        assert epochs % _interval(epochs) == 0
        assert epochs == 1 or _interval(epochs) < epochs  # a cut training has a checkpoint to go on from
    assert [_interval(epochs) for epochs in (16, 20, 30, 31)] == [4, 4, 6, 1]


def test_a_recipe_is_all_its_files(tmp_path: Path, tiny_camvid: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "small.yaml").write_text("batch_size: 3\n")
    (tmp_path / "own.yaml").write_text("data: data/small.yaml\n")
    recipe = Recipe("rtformer_slim", tmp_path / "own.yaml", tiny_camvid, 2)
    slip = Recipe("rtformer_slim", tmp_path / "own.yaml", tiny_camvid, 2, ("--trainer.precison=32",))
    check_recipe(slip, tmp_path / "recipe.json")
    check_recipe(recipe, tmp_path / "recipe.json")  # nothing was trained by the one with the slip
    (tmp_path / "sa_seed0").mkdir()
    (tmp_path / "sa_seed0" / "last.ckpt").touch()
    check_recipe(recipe, tmp_path / "recipe.json")
    (tmp_path / "data" / "small.yaml").write_text("batch_size: 4\n")
    with pytest.raises(UserError, match="other settings in the config"):
        check_recipe(recipe, tmp_path / "recipe.json")
    (tmp_path / "recipe.json").write_text("")
    with pytest.raises(UserError, match=r"recipe.json' is damaged"):
        check_recipe(recipe, tmp_path / "recipe.json")


@pytest.mark.slow
def test_rows_of_another_recipe_are_refused(done: tuple[Comparison, Path], tiny_camvid: Path, config: Path) -> None:
    for changes, words in (
        ({"epochs": 3}, r"epochs 2, not 3"),
        ({"flags": ["--data.flip=0.0"]}, r"flags \[\], not \['--data.flip=0.0'\]"),
    ):
        with pytest.raises(UserError, match=f"another recipe.*{words}"):
            compare(["ea:ratio=1"], done[1], **settings(tiny_camvid, config, **changes))
    speed = (done[1] / "speed.json").read_text()
    changed = config.with_name("changed.yaml")
    changed.write_text(CONFIG.replace("0.9", "0.8"))
    with pytest.raises(UserError, match=r"another recipe.*other settings in the config"):
        compare(["ea:ratio=1", "sa"], done[1], **settings(tiny_camvid, changed))
    assert (done[1] / "speed.json").read_text() == speed


@pytest.mark.slow
def test_a_failed_training_says_why(tmp_path: Path, tiny_camvid: Path, config: Path) -> None:
    """And stops no other. 16 heads divide half of the channels of the network that is timed, not of the tiny one."""
    with pytest.raises(
        UserError, match=r"training of fa:heads=16, seed 0, ended with status 2: .*heads=16 does.*train.log"
    ):
        compare(["fa:heads=16", "gfa+ca"], tmp_path, **settings(tiny_camvid, config, epochs=1, jobs=2))
    bad, good = document(tmp_path)["rows"]
    assert bad["trained"] is None
    assert good["trained"]["miou"] > 0


def test_equal_reasons_are_said_once(tmp_path: Path) -> None:
    first, second, third = trainings([Row("sa"), Row("ea"), Row("gfa")], [0], tmp_path)
    assert explain({first: "ended: no memory", second: "ended: bad key", third: "ended: no memory"}) == [
        f"2 trainings (sa, seed 0; gfa, seed 0) each ended: no memory (all of it: {first.folder / 'train.log'})",
        f"the training of ea, seed 0, ended: bad key (all of it: {second.folder / 'train.log'})",
    ]


@pytest.mark.slow
def test_a_training_that_ends_early_is_no_result(tmp_path: Path, tiny_camvid: Path, config: Path) -> None:
    short = settings(tiny_camvid, config, epochs=1, flags=["--trainer.max_time=00:00:00:00"])
    with pytest.raises(UserError, match="without a score of its last epoch: max_time"):
        compare(["gfa+ca"], tmp_path, **short)
    assert not list(tmp_path.glob("*/finished.json"))
    assert document(tmp_path)["rows"][0]["trained"] is None


@pytest.mark.slow
def test_a_folder_in_work_is_left_alone(tmp_path: Path, tiny_camvid: Path, config: Path) -> None:
    holder = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True)"
    command = [sys.executable, "-c", f"{holder}; time.sleep(60)", str(tmp_path / ".lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UserError, match=r"another `rtseg compare`.* works in"):
            compare(["gfa+ca"], tmp_path, **settings(tiny_camvid, config))
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_bits(tmp_path: Path, tiny_camvid: Path, config: Path) -> None:
    """Ctrl-C in the second of three trainings: the first is kept, the second gone on with, the third made."""
    command = [
        sys.executable,
        "-m",
        "rtseg",
        "compare",
        "--attention",
        "sa",
        "--attention",
        "ea",
        "-o",
        str(tmp_path / "cut"),
    ]
    command += ["--input-size", "64", "96", "--seconds", "0.05", "--device", "cpu", "--threads", "1"]
    command += ["--data", str(tiny_camvid), "--config", str(config), "--epochs", "30"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    second = tmp_path / "cut" / "sa_seed0"
    _wait(lambda: (second / "last.ckpt").is_file(), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert (tmp_path / "cut" / "gfa+ca_seed0" / "finished.json").is_file()
    assert not (second / "finished.json").exists()
    kept = (tmp_path / "cut" / "gfa+ca_seed0" / "metrics.csv").stat().st_mtime_ns
    assert subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    assert "--ckpt_path" in (second / "train.log").read_text()
    assert (tmp_path / "cut" / "gfa+ca_seed0" / "metrics.csv").stat().st_mtime_ns == kept
    whole = compare(["sa", "ea"], tmp_path / "whole", **settings(tiny_camvid, config, epochs=30))
    assert [row["trained"]["miou"] for row in document(tmp_path / "cut")["rows"]] == [
        row["trained"]["miou"] for row in whole.to_dict()["rows"]
    ]


def _wait(ready: Any, process: subprocess.Popen) -> None:
    end = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, "the command ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.1)


# --- the best engine


def changed(comparison: Comparison, name: str, best: Mapping[str, Any] | None = None, **own: Any) -> Comparison:
    """With other figures of one row, in eager PyTorch (`own`) or on the best engine."""
    networks = dict(comparison.speed["networks"])
    networks[name] = {**networks[name], **own, "best": {**networks[name]["best"], **(best or {})}}
    return replace(comparison, speed={**comparison.speed, "networks": networks})


def cells(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Row -> heading -> cell."""
    lines = [line for line in comparison.markdown().splitlines() if line.startswith("|")]
    headings, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(headings, row, strict=True)) for row in rows}


def tips(comparison: Comparison) -> list[str]:
    """Of the dots, without those of the legend."""
    return [
        tip.text or "" for tip in ElementTree.fromstring(draw(comparison)).iter("{http://www.w3.org/2000/svg}title")
    ]


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
    assert own[f"class map, {BEST}"] == f"{row['best_class_map']['median_ms']:.1f} ms"
    assert own["best FPS"] == f"{row['best_class_map']['fps']:.1f}"
    assert own["best ratio"] == f"{ratio:.2f}"
    assert own["paper FPS"] == "180.8"
    assert tips(comparison).count(f"picture → class map, best engine here: {ratio:.4g}") >= 1
    assert sum("best engine" in tip for tip in tips(comparison)) == 2
    assert "picture → class map, best engine here" in (folder / "compare.svg").read_text()


def test_the_best_engine_is_named_in_the_notes(best: tuple[Comparison, Path]) -> None:
    comparison = best[0]
    assert f"BatchNorm folded, and {BEST}, PyTorch" in comparison.notes()[0]
    openvino = changed(comparison, "gfa+ca", {"engine": {"backend": "openvino", "openvino": "2025.3.0"}})
    openvino = replace(
        openvino, speed={**openvino.speed, "asked": {**openvino.speed["asked"], "best_backend": "openvino"}}
    )
    assert "BatchNorm folded, and openvino (2025.3.0), PyTorch" in openvino.notes()[0]
    networks = {**openvino.speed["networks"], "gfa+ca": None}
    assert "and openvino, PyTorch" in replace(openvino, speed={**openvino.speed, "networks": networks}).notes()[0]


def test_a_row_that_the_best_engine_gets_wrong_has_no_time_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "best_backend", lambda device: BEST)
    monkeypatch.setitem(parity.MOST_LOGITS_ERROR, "bf16", -1.0)
    comparison = compare(["ea:ratio=1"], tmp_path, **SPEED)
    for row in document(tmp_path)["rows"]:
        assert row["class_map"]["fps"] > 0
        assert (row["best_class_map"], row["fps_ratio"]["best_class_map"]) == (None, None)
        assert row["best"]["parity"]["passed"] is False
        assert row["best"]["refused"].startswith("logits differ by")
        own = cells(comparison)[row["name"]]
        assert own[f"class map, {BEST}"] == f"refused: {row['best']['refused']}"
        assert (own["best FPS"], own["best ratio"]) == ("", "")
        assert own["class map FPS"] == f"{row['class_map']['fps']:.1f}"
    assert "best engine" not in (tmp_path / "compare.svg").read_text()


@pytest.mark.parametrize("name", ["gfa+ca", "ea:ratio=1"])
def test_a_refusal_is_of_its_row_and_engine_alone(best: tuple[Comparison, Path], name: str) -> None:
    """Without the baseline there is nothing to hold others against."""
    nothing = {"class_map": None, "network": None, "refused": "too far"}
    without = changed(best[0], name, nothing)
    other = next(row for row in cells(without) if row != name)
    assert cells(without)[name][f"class map, {BEST}"] == "refused: too far"
    assert cells(without)[other][f"class map, {BEST}"].endswith(" ms")
    assert cells(without)[other]["best ratio"] == ("" if name == "gfa+ca" else "1.00")
    assert sum("best engine" in tip for tip in tips(without)) == (0 if name == "gfa+ca" else 1)
    eager = changed(best[0], name, None, **nothing)
    own = cells(eager)[name]
    assert (own["picture → class map"], own["class map FPS"], own["network alone"]) == (
        "refused: too far",
        "",
        "refused: too far",
    )
    assert own[f"class map, {BEST}"].endswith(" ms")
    assert own["params"] == cells(best[0])[name]["params"]
    assert "does not fit" not in eager.markdown()
    ElementTree.fromstring(draw(eager))


def test_few_runs_on_the_best_engine_are_doubted(best: tuple[Comparison, Path]) -> None:
    few = changed(
        best[0], "ea:ratio=1", {"class_map": {**best[0].speed["networks"]["ea:ratio=1"]["class_map"], "iterations": 7}}
    )
    assert any("ea:ratio=1 (class map, best engine: 7)" in doubt for doubt in few.to_dict()["doubts"])


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
    assert "BatchNorm folded, PyTorch" in comparison.notes()[0]


def test_a_network_that_does_not_fit_has_a_row_as_long_as_the_others(best: tuple[Comparison, Path]) -> None:
    networks = {**best[0].speed["networks"], "ea:ratio=1": None}
    without = replace(best[0], speed={**best[0].speed, "networks": networks})
    assert cells(without)["ea:ratio=1"]["params"] == "does not fit into memory"
    assert cells(without)["ea:ratio=1"]["paper FPS"] == "180.8"


@pytest.mark.slow
def test_the_best_engine_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = best_backend(torch.device("cpu"))
    if name is None:
        pytest.skip("no engine beside PyTorch here")
    monkeypatch.setattr(command, "best_backend", best_backend)
    comparison = compare(["sa"], tmp_path, **SPEED)
    for row in comparison.to_dict()["rows"]:
        assert row["best"]["backend"].startswith(name)
        assert row["best_class_map"]["fps"] > 0
    assert f"and {name} (" in comparison.notes()[0]


# --- bad input, and what cannot be had


def test_a_network_that_does_not_fit_is_said_to(tmp_path: Path) -> None:
    class Greedy(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.empty(1 << 60, dtype=torch.uint8)

    network = create_model("rtformer_slim", 3, **{k: v for k, v in TINY.items() if k != "drop_path"})  # type: ignore[arg-type]
    assert _fits(Case(Candidate(network), "eager", (1, 32, 32)), device="cpu")
    network.backbone = Greedy()  # type: ignore[assignment]
    assert not _fits(Case(Candidate(network), "eager", (1, 32, 32)), device="cpu")


def test_a_row_without_figures_is_shown(done: tuple[Comparison, Path]) -> None:
    comparison = done[0]
    networks = {**comparison.speed["networks"], "ea:ratio=1": None}
    without = replace(comparison, speed={**comparison.speed, "networks": networks}, scores={}, recipe=None)
    assert "does not fit into memory" in without.markdown()
    assert without.to_dict()["rows"][1]["network"] is None
    zero = {key: {"miou": 0.0} for key in comparison.scores}
    ElementTree.fromstring(draw(replace(comparison, scores=zero)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--atention", "sa"], "'--atention' is not an option of this command. Did you mean '--attention'?"),
        (["sa"], "'sa' belongs to no option; a row is given as --attention sa"),
        (["--seed=3"], "Did you mean '--seeds'?"),
        (["--seconds", "-1"], "--seconds -1 must be a number above 0"),
        (["--seconds", "nan"], "--seconds nan must be a number above 0"),
        (["--attention", "gfa:groups=7"], "groups=7"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--num-classes", "0"], "num_classes=0"),
        pytest.param(["--data", "/", "--epochs", "1"], "no CamVid data in /", marks=pytest.mark.slow),
        pytest.param(
            ["--data", "DATA", "--epochs", "1", "--trainer.precison=32"],
            "Did you mean 'trainer.precision'?",
            marks=pytest.mark.slow,
        ),
        (["--data", "DATA", "--epochs", "1", "--fps.seconds=1"], "'--fps.seconds' is without use here"),
        (["--epochs", "3"], "--data DIR"),
        (["--data", "DATA"], "--epochs N"),
        (["--data", "DATA", "--epochs", "0"], "--epochs 0 must be at least 1"),
        (["--data", "nowhere", "--epochs", "1"], "--data nowhere: no such folder"),
        (["--data", "DATA", "--epochs", "1", "--config", "no.yaml"], "--config no.yaml: no such file"),
        (["--data", "DATA", "--epochs", "1", "--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--data", "DATA", "--epochs", "1", "--jobs", "-1"], "--jobs -1 must be at least 1"),
        (
            ["--data", "DATA", "--epochs", "1", "--trainer.max_epochs=3"],
            "'--trainer.max_epochs' is set by the comparison",
        ),
        (["--data", "DATA", "--epochs", "1", "--trainer.precision", "32"], "'--trainer.precision' is no option"),
        (["--trainer.precision=32-true"], "--trainer.precision=32-true"),
        (["--attention", "ca"], "'ca' reads the low-resolution branch"),
        (["--input-size", "0", "5"], "height 0 must be at least 1"),
        (["--threads", "0"], "threads 0 must be at least 1"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: Sequence[str],
    words: str,
    config: Path,
    tiny_camvid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [str(tiny_camvid) if argument == "DATA" else argument for argument in arguments]
    more = [] if "--config" in arguments else ["--config", str(config)]
    with pytest.raises(SystemExit) as end:
        main(["compare", "-o", str(tmp_path / "out"), *more, *filled])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_default_recipe_that_is_not_here_is_said_to_be_the_default(
    tiny_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"camvid_half\.yaml: no such file, the default, .*; give a configuration"):
        compare(["gfa"], tmp_path / "out", device="cpu", data=tiny_camvid, epochs=1)


def test_a_foreign_measurement_is_named(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(UserError, match=r"speed.json' was not written by `rtseg compare`"):
        compare(["gfa"], tmp_path, device="cpu", seconds=0.05, input_size=(32, 32))


@pytest.mark.slow
def test_a_training_cut_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, tiny_camvid: Path, config: Path
) -> None:
    row = Row("gfa+ca", {"base_channels": 16})
    (wanted,) = trainings([row], [0], tmp_path)
    wanted.folder.mkdir()
    (wanted.folder / "metrics.csv").write_text("step\n")
    (wanted.folder / "config.yaml").write_text("")
    # Flags cannot make another network of the row, however they are written.
    flags = ("--model.attent=sa", "--model.options.base_channels=8")
    recipe = Recipe("rtformer_slim", config, tiny_camvid, 1, flags)
    with locked(tmp_path) as lock:
        assert not train([wanted], recipe, lock=lock, jobs=1, console=Console(stderr=True))
    assert wanted.finished
    assert [step for step, _ in read_log(wanted.folder / "metrics.csv").points("val/miou")] == [2]
    card, _ = read_weights(wanted.folder / "last.ckpt")
    assert card.options == {**TINY, "base_channels": 16}  # the row's options beside those of the config
    assert card.attention == "gfa+ca"
