"""Speed beside the paper's, and trainings that go on where they stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from rtseg.errors import STOPPED, UserError
from rtseg.models import create_model
from rtseg.speed.benchmark import Timing, count_macs
from rtseg.studies.compare import compare
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import choose_rows
from rtseg.studies.runs.metrics_log import read_log
from tests.helpers.compare import CONFIG, cells, document, settings, tips
from tests.helpers.tables import check_whole

_PATIENCE = 600  # seconds: on a busy machine a process takes a minute to begin


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["seed", "seeds"])
def seeds(request: pytest.FixtureRequest) -> int:
    """Of a comparison."""
    return request.param


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, tiny_camvid: Path, config: Path, seeds: int
) -> tuple[Comparison, Path]:
    """One row that is asked for, and the baseline; two trainings at a time."""
    folder = tmp_path_factory.mktemp("compare") / "new"
    return compare(["ea:ratio=1"], folder, **settings(tiny_camvid, config, seeds=seeds, jobs=2)), folder


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


def test_scores_are_those_of_the_last_epoch(done: tuple[Comparison, Path], seeds: int) -> None:
    found = document(done[1])
    means = []
    for row in found["rows"]:
        scores = {}
        for seed in range(seeds):
            log = read_log(done[1] / f"{row['name'].replace(':', '-').replace('=', '')}_seed{seed}" / "metrics.csv")
            scored = log.points("val/miou")
            assert [step for step, _ in scored] == [2, 5]  # three steps an epoch; the last epoch is scored
            scores[str(seed)] = scored[-1][1]
        assert {seed: score["miou"] for seed, score in row["trained"]["seeds"].items()} == scores
        assert len(set(scores.values())) == seeds
        means.append(mean(scores.values()))
        assert row["trained"]["miou"] == pytest.approx(means[-1])
    assert found["rows"][1]["trained"]["miou_difference"] == pytest.approx(means[1] - means[0])


def test_the_noise_between_seeds_is_pooled() -> None:
    rows = choose_rows(["sa"], "rtformer_slim")
    scores = {(rows[0], 0): 0.5, (rows[0], 1): 0.52, (rows[1], 0): 0.4, (rows[1], 1): 0.44}
    comparison = Comparison(rows, {}, None, {key: {"miou": value} for key, value in scores.items()})
    assert comparison.trained.noise(rows, "miou") == pytest.approx((((0.02**2 + 0.04**2) / 2) / 2) ** 0.5)
    alone = replace(comparison, scores={(rows[0], 0): {"miou": 0.5}})
    assert alone.trained.noise(rows, "miou") is None


def test_table_and_plot_hold_every_row(done: tuple[Comparison, Path], seeds: int) -> None:
    folder = done[1]
    lines = (folder / "compare.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert {len(line) for line in cells} == {14 + seeds}  # two seeds have a standard error
    assert len(set(cells[0])) == 14 + seeds
    assert any("512x512 on an RTX 2080 Ti" in line for line in lines)
    assert [line[0].rstrip(" ¹²³") for line in cells[2:]] == ["gfa+ca", "ea:ratio=1"]  # a busy machine marks a row
    assert cells[3][cells[0].index("difference")] == f"{document(folder)['rows'][1]['trained']['miou_difference']:+.4f}"
    assert any("standard deviation" in line for line in lines) == (seeds > 1)
    dots = ElementTree.parse(folder / "compare.svg").iter("{http://www.w3.org/2000/svg}circle")
    # Two figures here and one of the paper for each of two rows, the seeds of each; four kinds in the legends.
    assert sum(1 for _ in dots) == 2 * (2 + 1) + 2 * seeds + 4


def test_called_again_it_measures_and_trains_nothing(
    done: tuple[Comparison, Path],
    seeds: int,
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
    compare(["ea:ratio=1"], done[1], **settings(tiny_camvid, commented, seeds=seeds, jobs=2))
    printed = capsys.readouterr()
    assert json.loads(printed.out) == document(done[1]) == before  # a pipe gets the JSON alone
    assert "Attention compared" in printed.err
    assert f"resuming: {2 * seeds} of {2 * seeds} trainings are finished\n" in printed.err
    (line,) = (line for line in printed.err.splitlines() if "as measured on" in line)
    conditions = before["conditions"]
    for words in (conditions["date"], f"commit {conditions['git_commit'] or 'unknown'}"):
        assert words in line
    assert [file.stat().st_mtime_ns for file in files] == times
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    compare(["ea:ratio=1"], done[1], **settings(tiny_camvid, commented, seeds=seeds, jobs=2))
    printed = capsys.readouterr()
    assert "Attention compared" in printed.out
    assert '{"conditions"' not in printed.out  # JSON would hide the table


def test_doubts_are_said_once_and_ratios_of_a_busy_machine_withheld(done: tuple[Comparison, Path]) -> None:
    comparison = done[0]
    still = asdict(Timing.of([10.0] * 20, batch_size=1, warmup_iterations=1))
    networks = {
        name: network | {figure: still for figure in ("class_map", "network")}
        for name, network in comparison.speed["networks"].items()
    }
    speed = {**comparison.speed, "networks": networks}
    speed["conditions"] = {**speed["conditions"], "cores_busy_during_the_run": 0.0}
    quiet = replace(comparison, speed=speed, ratios=False)
    assert (quiet.to_dict()["doubts"], quiet.to_dict()["busy"], quiet.remarks()) == ([], None, [])
    networks["gfa+ca"]["network"] = still | {"iterations": 19}
    assert quiet.to_dict()["doubts"] == ["fewer than 20 runs: gfa+ca, network (19); give more seconds"]
    assert quiet.remarks() == ["¹ timed in 19 runs, fewer than 20: give more --seconds"]
    assert "| gfa+ca ¹ |" in quiet.markdown()
    assert cells(quiet)["ea:ratio=1"]["eager times"] == "1.00"

    speed["conditions"]["cores_busy_during_the_run"] = 1.5
    assert "eager times" not in cells(quiet)["ea:ratio=1"]
    assert "ratios withheld; remove speed.json from the folder and run again" in quiet.markdown()
    assert not any(tip.endswith(", here: 1") for tip in tips(quiet))
    assert cells(replace(quiet, ratios=True))["ea:ratio=1"]["eager times"] == "1.00"
    found = quiet.to_dict()  # all of it, with the doubt beside it
    assert found["rows"][1]["fps_ratio"]["class_map"] == 1.0
    assert found["busy"].startswith("other work kept 1.5 of ")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(done: tuple[Comparison, Path], width: int) -> None:
    check_whole(done[0].table(), width)


def test_trainings_do_not_time(done: tuple[Comparison, Path], seeds: int) -> None:
    """Though their configuration has settings for it."""
    folders = list(done[1].glob("*_seed*"))
    assert len(folders) == 2 * seeds
    for folder in folders:
        assert not (folder / "speed.json").exists()
        assert "speed/fps" not in (folder / "metrics.csv").read_text().splitlines()[0]


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
def test_damaged_scores_are_named_and_read_again_from_the_log(
    done: tuple[Comparison, Path], tiny_camvid: Path, config: Path, seeds: int, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done[1], tmp_path / "copy"))
    file = folder / "ea-ratio1_seed0" / "finished.json"
    again = settings(tiny_camvid, config, seeds=seeds)
    file.write_text(file.read_text()[:9])
    with pytest.raises(UserError, match=r"finished\.json' is damaged .* remove it, and the same command reads"):
        compare(["ea:ratio=1"], folder, **again)
    file.unlink()
    assert compare(["ea:ratio=1"], folder, **again).scores == done[0].scores


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
        with pytest.raises(UserError, match="is in use by another command"):
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
    try:
        _wait(lambda: (second / "last.ckpt").is_file(), process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(_PATIENCE) == STOPPED
    finally:
        process.terminate()  # it ends its trainings
        process.wait()
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
    end = time.monotonic() + _PATIENCE
    while not ready():
        assert process.poll() is None, "the command ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_row_without_figures_is_shown(done: tuple[Comparison, Path]) -> None:
    comparison = done[0]
    networks = {**comparison.speed["networks"], "ea:ratio=1": None}
    without = replace(comparison, speed={**comparison.speed, "networks": networks}, scores={}, recipe=None)
    assert "does not fit into memory" in without.markdown()
    assert without.to_dict()["rows"][1]["network"] is None
    zero = {key: {"miou": 0.0} for key in comparison.scores}
    ElementTree.fromstring(plot(replace(comparison, scores=zero).drawn()))
