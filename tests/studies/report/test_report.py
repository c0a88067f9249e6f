"""The report of run folders whole, half and broken, each made here of files as a training writes them."""

import base64
import html
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from rtseg.cli import app, main
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import Report
from rtseg.studies.report import write_report
from rtseg.studies.report.figures import amount
from rtseg.studies.runs.metrics_log import read_log
from tests.helpers.run_folder import (
    NAMES,
    Page,
    drawn_scores,
    log_rows,
    validation,
    write_checkpoint,
    write_log,
    write_picture,
)


def test_page_is_complete_in_itself(run: Path, tmp_path: Path) -> None:
    (run / "scores.json").write_text(drawn_scores().json())
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    page = Page(write_report(run, tmp_path / "pages" / "report.html"))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    loaded = [
        value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert len(loaded) == 8
    assert all(value.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for value in loaded)
    assert not {"link", "iframe", "object"} & page.tags()
    assert "url(" not in page.html
    assert "@import" not in page.html
    assert "http://" not in page.html
    assert "https://" not in page.html
    assert "default-src 'none'" in page.html
    assert "Not shown here" not in page.text


def test_figures_are_those_of_the_files(run: Path, measured: str) -> None:
    text = Page(write_report(run)).text
    report = json.loads(measured)
    network, conditions = report["networks"][0], report["conditions"]
    assert "0.6543 mean IoU (1 is perfect) on the validation images, the best of the training: step 30, epoch 3" in text
    assert "0.9000 pixel accuracy" in text
    assert f"({network['parameters']:,})" in text
    assert f"{amount(network['macs'])} multiply-adds of one image, 24×32" in text
    assert f"{network['class_map']['fps']:.1f} FPS, image → class map" in text
    device, threads = conditions["device"], network["engine"]["threads"]
    where = f"{device['name']}, {threads} thread{'s' * (threads != 1)} on {device['cores']} cores"
    assert f"24×32 (height × width), batch 1, eager:fp32, {where}" in text
    assert f"{where}; 24×32 (height × width), batch 1; measured by rtseg benchmark on" in text
    for condition in (
        f"on {conditions['date'].replace('T', ' ').replace('+00:00', ' UTC')}, commit ",
        f", commit {conditions['git_commit'] or 'unknown'}.",
        f"torch {conditions['torch']}; memory_format channels_last; batchnorm folded",
        f"{network['class_map']['iterations']} runs, drift {network['class_map']['drift']:+.1%}",
    ):
        assert condition in text
    for doubt in report["doubts"]:
        assert f"Caution: {doubt}" in text or report["busy"]
    assert (f"Caution: the machine was busy ({report['busy']})" in text) == bool(report["busy"])
    assert "8.00 images/s over the whole training, batch 2, crops of 24×32, precision bf16-mixed; 1.25% of that" in text
    assert "last logged step 40, epoch 4 of 4" in text
    assert "crop_size: - 24 - 32" in text


def test_a_network_without_attention(run: Path, measured: str) -> None:
    """Says nothing of it, with and without a checkpoint."""
    report = Report.from_json(measured)
    own = replace(report.networks[0], model="ddrnet_23_slim", attention="none")
    (run / "benchmark.json").write_text(replace(report, networks=(own,)).to_json())
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"] = {"name": "ddrnet_23_slim", "attention": "none"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_checkpoint(run, model="ddrnet_23_slim", attention="none", options={})
    for _ in range(2):
        page = Page(write_report(run))
        assert "<h1>ddrnet_23_slim</h1>" in page.html
        assert "<title>ddrnet_23_slim on camvid</title>" in page.html
        assert "FPS, image → class map" in page.text
        (run / "best.ckpt").unlink(missing_ok=True)
    (run / "benchmark.json").write_text(measured)
    with pytest.raises(
        UserError, match=r"measured rtformer_slim gfa\+ca, 11 classes, but this run trained ddrnet_23_slim;"
    ):
        write_report(run)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0.00 k"), (21217, "21.22 k"), (4994987, "4.99 M"), (844988416, "0.84 G"), (10**11, "100.00 G")],
)
def test_amounts(number: int, text: str) -> None:
    assert amount(number) == text


def test_throughput_weighs_rows_by_their_time(run: Path) -> None:
    speeds = [{"step": 9, "speed/train_images_per_s": 10.0, "speed/data_wait": 0.0}]
    speeds += [{"step": 19, "speed/train_images_per_s": 2.5, "speed/data_wait": 0.5}]
    write_log(run, speeds)  # n images in n/10 s and n in n/2.5 s: 4 images/s, 0.4 of which waited
    assert "4.00 images/s over the whole training" in (text := Page(write_report(run)).text)
    assert "40.00% of that time waited" in text


def test_classes(run: Path) -> None:
    rows = log_rows()
    rows[-2] |= {"val/iou_fence": math.nan}
    write_log(run, rows)
    page = Page(write_report(run))
    table = {row[0]: row[2:] for row in page.rows if row and row[0] in NAMES}
    assert tuple(table) == NAMES
    assert table["road"] == ["0.6343", "50.00 %"]
    assert table["car"] == ["0.6843", "0.19 %"]
    assert table["bicyclist"] == ["0.7043", "0.00 %"]
    assert table["fence"] == ["does not occur", "0.00 %"]
    assert "0.6843 IoU of the smallest class: car, 0.19 % of the pixels" in page.text
    assert "counted in all 2 validation label files" in page.text
    bars = re.findall(r'<i style="width:([\d.]+)%;background:(#\w{6})">', page.html)
    assert bars[3] == ("63.43", "#1ec378")
    assert len(bars) == 10


def test_pictures_are_those_of_the_best_validation(run: Path, tmp_path: Path) -> None:
    page = Page(write_report(run))
    grid = tmp_path / "grid.jpg"
    grid.write_bytes(base64.b64decode(page.pictures()[0].partition(",")[2]))
    assert abs(np.asarray(Image.open(grid)).mean() - 120) < 2
    assert "Validation images at the best validation" in page.text
    assert "(6 of 9 in predictions/ )" in page.text
    assert "drive/0" in page.text
    assert "drive/8" in page.text
    (run / "pictures/step_000030.jpg").unlink()
    assert "Validation images after 20 steps" in Page(write_report(run)).text


def test_size_of_the_page(run: Path) -> None:
    write_picture(run / "pictures/step_000030.jpg", (1440, 960))  # noise is the worst a JPEG can meet
    for k in range(9):
        write_picture(run / f"predictions/drive/{k}_overlay.jpg", (720, 960))
    assert write_report(run).stat().st_size < 3_000_000


def test_names_are_escaped(run: Path) -> None:
    names = ("<script>alert(1)</script>", 'a"b', "c&d", *NAMES[3:])
    write_checkpoint(run, class_names=names)
    rows = log_rows()
    rows[-2] |= {f"val/iou_{name}": 0.25 for name in names[:3]}
    write_log(run, rows)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["weights"] = "</pre><script>alert(2)</script>"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    page = Page(write_report(run))
    assert page.html.count("<script") == 1  # its own
    assert [row[0] for row in page.rows if row and row[0] in names] == list(names)
    assert "</pre><script>alert(2)</script>" in page.text


def test_shares_of_other_classes_are_left_out(run: Path) -> None:
    write_checkpoint(run, class_names=tuple("abcdefghijk"))
    text = Page(write_report(run)).text
    assert "No share of the pixels for each class: the data set that config.yaml names has other classes (sky, " in text
    assert "not logged" in text


def test_log_of_a_resumed_run(run: Path) -> None:
    """A validation that was made twice counts as it was made last; NaN and infinity are no points of a curve."""
    rows = [*log_rows(), validation(29, 0.55), validation(49, math.nan)]
    rows += [{"step": 49, "train/loss": math.inf}, {"step": 59, "train/loss": 0.01}]
    write_log(run, rows)
    log = read_log(run / "metrics.csv")
    assert log.points("val/miou") == [(19, 0.41), (29, 0.55), (39, 0.6012)]
    assert log.points("train/loss")[-2:] == [(39, 3 / 40), (59, 0.01)]
    text = Page(write_report(run)).text
    assert "0.6012 mean IoU (1 is perfect) on the validation images, the best of the training: step 40, epoch 4" in text
    assert "train/loss was not finite at 1 logged steps" in text


def test_line_that_is_being_written_is_left_out(run: Path) -> None:
    with (run / "metrics.csv").open("a") as file:
        file.write("9999,")
    assert "last logged step 40" in Page(write_report(run)).text


def test_without_benchmark_speed_is_that_of_the_training(run: Path, measured: str) -> None:
    (run / "benchmark.json").rename(run / "speed.json")
    text = Page(write_report(run)).text
    assert f"{json.loads(measured)['networks'][0]['class_map']['fps']:.1f} FPS, image → class map" in text
    assert "measured by FPSMonitor during the training on" in text
    (run / "speed.json").unlink()
    text = Page(write_report(run)).text
    assert "FPS, image" not in text
    assert "No benchmark.json: rtseg benchmark '" in text
    network = Segmenter(write_checkpoint(run))
    used = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.aux_head.parameters())
    assert f"({used:,})" in text


def test_before_the_first_validation(run: Path) -> None:
    for name in ("best.ckpt", "benchmark.json"):
        (run / name).unlink()
    for folder in ("pictures", "predictions"):
        for file in sorted((run / folder).rglob("*.*")):
            file.unlink()
    write_log(run, log_rows()[:-3])
    page = Page(write_report(run))
    assert "rtformer_slim gfa+ca" in page.text
    assert "No validation has been logged yet" in page.text
    assert "<h2>IoU of each class" not in page.html
    assert page.html.count("<polyline") == 4
    assert not page.pictures()
    assert page.text.count("this needs a checkpoint") == 3


def test_without_checkpoint_or_data(run: Path, tmp_path: Path) -> None:
    (run / "best.ckpt").unlink()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    page = Page(write_report(run))
    assert [row[0] for row in page.rows if row and row[0] in NAMES] == sorted(NAMES)
    assert "No share of the pixels for each class: no CamVid data in" in page.text
    assert "smallest class" not in page.text


def test_without_config(run: Path) -> None:
    (run / "config.yaml").unlink()
    text = Page(write_report(run)).text
    assert "progress last logged step 40, epoch 4 page written" in text
    assert "rtseg fit" not in text


def test_its_commands_exist(run: Path) -> None:
    """Those of `rtseg fit` and `validate` have flags of Lightning, too."""
    known: Any = typer.main.get_command(app)
    lines = html.unescape(re.findall(r"<pre>(.*?)</pre>", write_report(run).read_text(), re.S)[-1]).splitlines()
    names = []
    for program, name, *words in map(shlex.split, lines):
        assert program == "rtseg"
        names.append(name)
        if name not in ("fit", "validate"):
            known.commands[name].make_context(name, words)
    assert names == ["fit", "validate", "benchmark", "predict", "predict", "page", "report"]
    write_checkpoint(run, channels=3)
    assert "rtseg page" not in Page(write_report(run)).text, "a browser reads RGB alone"


def test_report_is_written_anew(run: Path) -> None:
    output = write_report(run)
    assert output == run / "report.html"
    output.write_text("old")
    with pytest.raises(SystemExit) as end:
        main(["report", str(run)])
    assert end.value.code == 0
    assert "0.6543" in output.read_text()


def test_output_that_cannot_be_written_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pages' cannot be written to: '.*metrics\.csv' is a file"):
        write_report(run, run / "metrics.csv" / "pages" / "report.html")


def break_benchmark(run: Path) -> None:
    report = json.loads((run / "benchmark.json").read_text())
    del report["conditions"]["git_commit"]
    (run / "benchmark.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.csv").unlink(), r"it has no metrics.csv; found: benchmark.json, best.ckpt"),
        (lambda run: (run / "metrics.csv").write_text("epoch,step\n"), r"does not contain a row: the training ended"),
        (lambda run: (run / "metrics.csv").write_text(""), r"does not contain a row"),
        (lambda run: (run / "metrics.csv").write_text("step,a\n1,2\n2,x\n"), r"line 3 is not a row of numbers"),
        (lambda run: (run / "metrics.csv").write_text("step,a\n,2\n"), r"line 2 is not a row of numbers with a step"),
        (lambda run: (run / "config.yaml").write_text("a: [1"), r"config.yaml, line 2: not valid YAML"),
        (lambda run: (run / "config.yaml").write_text("a"), r"has no settings"),
        (lambda run: (run / "best.ckpt").write_bytes(b"PK"), r"best.ckpt' is damaged"),
        (lambda run: (run / "benchmark.json").write_text("{"), r"not written by this version of rtseg"),
        (break_benchmark, r"KeyError: 'git_commit'"),
        (lambda run: write_checkpoint(run, attention="sa"), r"gfa\+ca, 11 classes, but this run trained .* sa, 11"),
        (lambda run: (run / "pictures/step_000030.jpg").write_bytes(b"x"), r"step_000030.jpg: not a readable image"),
        (lambda run: (run / "report.html").mkdir(), r"is a folder; give the name of a file"),
    ],
)  # fmt: skip
def test_damage_is_named(run: Path, damage: Any, message: str) -> None:
    damage(run)
    with pytest.raises(UserError, match=message):
        write_report(run)


def test_folder_that_is_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean '.*my run'\?"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        write_report(tmp_path / "absent")
    for name in ("config.yaml", "best.ckpt"):
        (run / name).unlink()
    with pytest.raises(UserError, match=r"neither config\.yaml nor best\.ckpt"):
        write_report(run)
