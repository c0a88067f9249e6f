"""The program that loads a server: a second of it, and answers that it must find wrong."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.serve_load import Load, main, report
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/proc tells files and memory")]


def test_a_second_of_load(segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.fromarray(texture((24, 32 + k))).save(tmp_path / "images" / f"{k}.png")
    words = [str(tmp_path / "net"), str(tmp_path / "images"), "--minutes=0.02", "--engine=eager", "--clients=2"]
    main([*words, f"--output={tmp_path / 'result.json'}"])
    found = json.loads((tmp_path / "result.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert found["answers"] >= 6
    assert (found["wrong"], found["exit_status"]) == ([], 0)
    assert found["milliseconds"]["p50"] <= found["milliseconds"]["p99"]


def test_memory_that_grows_is_seen() -> None:
    load = Load(0, 0.0, [], [], milliseconds=[1.0, 2.0, 3.0])
    assert report(load, 1.0, [100, 110, 110, 111])["flat"]
    assert not report(load, 1.0, [100, 110, 115, 120])["flat"]
