"""A stopped `rtseg predict` says how far it is, and --resume does the rest: of the same network alone."""

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.cli import main
from rtseg.command_line import resumable
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import Counts, predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.errors import STOPPED, UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.command import exit_status


@pytest.fixture
def predictor(segmenter: Segmenter) -> Predictor:
    return Predictor(segmenter, device="cpu")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{k}.png" for k in range(4)]
    for k, file in enumerate(files):
        Image.fromarray(texture((12 + k, 17))).save(file)
    return files


def ages(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("?*_overlay.jpg")}


def test_what_is_there_is_kept_and_counted(
    predictor: Predictor, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    predict_files(predictor, images, tmp_path / "whole")
    whole = capsys.readouterr().out.splitlines()[-2]
    predict_files(predictor, images[:2], out)
    with pytest.raises(UserError, match=r"not empty.* or --resume to add the images that are missing"):
        predict_files(predictor, images, out)
    with (out / "predictions.jsonl").open("a") as lines:
        lines.write('{"name": "2", "ima')  # killed while it was written
    (out / "0_colour.png").unlink()
    before, counts = ages(out), Counts()
    capsys.readouterr()
    assert predict_files(predictor, images, out, resume=True, counts=counts) == {}
    said = capsys.readouterr().out
    assert "3 images in " in said
    assert ", 1 was there already. In " in said
    assert said.splitlines()[-2] == whole
    assert (counts.done, counts.total) == (4, 4)
    after = ages(out)
    assert len(after) == 4
    assert (after["1_overlay.jpg"] == before["1_overlay.jpg"], after["0_overlay.jpg"] > before["0_overlay.jpg"]) == (
        True, True
    )  # fmt: skip
    Image.fromarray(texture((40, 40))).save(images[1])  # another image of the same name
    predict_files(predictor, images, out, resume=True)
    assert Image.open(out / "1.png").size == (40, 40)
    assert ages(out)["3_overlay.jpg"] == after["3_overlay.jpg"]
    record = (out / "predictions.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["name"] for line in record[1:]) == ["0", "1", "2", "3"], "each has one line"


def test_results_of_another_network_or_setting_are_not_mixed(
    predictor: Predictor, segmenter: Segmenter, images: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_files(predictor, images[:1], out)
    segmenter.card = replace(segmenter.card, eval_resize=(64, 128))
    resized = Predictor(segmenter, device="cpu")
    segmenter.card = replace(segmenter.card, eval_resize=None, class_names=tuple("abcde"))
    renamed = Predictor(segmenter, device="cpu")
    next(segmenter.parameters()).data.mul_(2)
    other = Predictor(segmenter, device="cpu")
    refused: list[tuple[Predictor, dict[str, Any], str]] = [
        (
            resized,
            {},
            r"otherwise: images at their own size; now: images resized to sides of 64 and 128; give",
        ),
        (renamed, {}, "are of other classes, ids or colours"),
        (other, {}, "are of another network"),
        (predictor, {"outputs": Outputs(alpha=0.3)}, r"are of another --alpha \(0\.5\)"),
        (predictor, {"overwrite": True}, "give one of the two"),
    ]
    for network, settings, message in refused:
        with pytest.raises(UserError, match=message):
            predict_files(network, images, out, resume=True, **settings)
    (out / "predictions.jsonl").unlink()
    with pytest.raises(UserError, match=r"--resume needs its predictions\.jsonl, which is not there"):
        predict_files(predictor, images, out, resume=True)
    assert predict_files(predictor, images, tmp_path / "new", resume=True) == {}


@pytest.mark.parametrize(("resize", "words"), [(None, "None"), ((64, 128), "(64, 128)"), ((64, 128), "[64, 128]")])
def test_a_record_of_older_words(
    segmenter: Segmenter, images: list[Path], tmp_path: Path, resize: tuple[int, int] | None, words: str
) -> None:
    """It said the same of its network, and is resumed; what differs is said in today's words."""
    segmenter.card = replace(segmenter.card, eval_resize=resize)
    predictor, out = Predictor(segmenter, device="cpu"), tmp_path / "out"
    predict_files(predictor, images[:2], out)
    record = out / "predictions.jsonl"
    head, rest = record.read_text().split("\n", 1)
    network = predictor.identity.partition(", ")[0]
    record.write_text(json.dumps({**json.loads(head), "network": f"{network}, resized to {words}"}) + "\n" + rest)
    before = ages(out)
    segmenter.card = replace(segmenter.card, eval_resize=(32, 64))
    with pytest.raises(UserError, match=r"otherwise: images .*; now: images resized to sides of 32 and 64") as refused:
        predict_files(Predictor(segmenter, device="cpu"), images, out, resume=True)
    assert "None" not in str(refused.value)
    assert predict_files(predictor, images, out, resume=True) == {}
    assert before.items() <= ages(out).items()
    assert json.loads(record.read_text().split("\n", 1)[0])["network"] == predictor.identity


class Stopping(Predictor):
    """Ctrl-C while it works on the third image."""

    seen = 0

    def classes_of(self, whole: np.ndarray) -> np.ndarray:
        self.seen += 1
        if self.seen == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the signal is handled in another thread, and this image still written
        return super().classes_of(whole)


def test_ctrl_c_ends_the_progress_bar_first(
    segmenter: Segmenter,
    images: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a terminal the sentence is the last that is seen."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    stdout = os.dup(1)
    os.dup2(2, 1)  # both streams in one place, in their order
    try:
        with pytest.raises(SystemExit), resumable("Again."):
            predict_files(Stopping(segmenter, device="cpu"), images, tmp_path / "out")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    before, _, after = capfd.readouterr().err.partition("Stopped. Again.")
    assert "━" in before
    assert after == "\n"


def test_ctrl_c_says_how_far_it_is_and_how_to_go_on(
    segmenter: Segmenter,
    images: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Counts().sentence() == "Nothing is written yet."
    segmenter.save_pretrained(tmp_path / "net")
    words = ["predict", str(tmp_path / "net"), *map(str, images), "-o", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["rtseg", *words, "--overwrite"])
    stopping = Stopping(segmenter, device="cpu")
    monkeypatch.setattr("rtseg.deploy.predictor.load", lambda *_, **__: stopping)
    assert exit_status(main, *words, "--overwrite") == STOPPED
    said = capfd.readouterr().out
    assert "Stopped. 3 of 4 images are written. To resume: rtseg predict " in said
    command = re.search("To resume: rtseg (.*)", said)
    assert command is not None
    assert command[1].split() == [*words, "--resume"]
    monkeypatch.undo()
    assert exit_status(main, *command[1].split()) == 0
    assert "1 image in " in capfd.readouterr().out
    record = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in record[1:]] == ["0", "1", "2", "3"]


def test_a_source_that_is_not_there_does_not_stop_the_others(
    segmenter: Segmenter, images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    words = ["predict", str(tmp_path / "net"), "--device", "cpu"]
    sources = [str(images[0]), str(tmp_path / "none.png"), str(images[1]), str(tmp_path / "n*.jpg")]
    assert exit_status(main, *words, *sources, "-o", str(tmp_path / "out")) == 1
    out, err = capfd.readouterr()
    assert re.search("2 images in .*; [a-z:0-9]+ on the CPU\n", out)
    assert "not predicted: no such image" in err
    assert err.endswith("2 of 4 images were not predicted\n")
    assert exit_status(main, *words, *sources[1::2], "-o", str(tmp_path / "none")) == 2
    assert "no such image, folder or glob: " in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_weight_of_colours_is_nothing_to_class_maps_alone(
    predictor: Predictor, images: list[Path], tmp_path: Path
) -> None:
    out, alone = tmp_path / "out", Outputs(overlays=False, alpha=0.9)
    predict_files(predictor, images[:1], out, outputs=Outputs(alpha=0.3))
    predict_files(predictor, images[:2], out, outputs=alone, resume=True)
    with pytest.raises(UserError, match=r"another --alpha \(0.3\)"):
        predict_files(predictor, images, out, outputs=Outputs(alpha=0.4), resume=True)
    predict_files(predictor, images[:1], tmp_path / "alone", outputs=alone)
    predict_files(predictor, images[:1], tmp_path / "alone", outputs=Outputs(alpha=0.4), resume=True)
    assert len(ages(tmp_path / "alone")) == 1
