"""The script that times a folder: its stages alone, the whole, and an older checkout, here the same one."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.predict_folder import main
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture

ROOT = Path(__file__).parents[2]


def test_it_wants_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no checkout of this repository"):
        main(["net.ckpt", str(tmp_path), "--before", str(tmp_path)])


@pytest.mark.slow
def test_the_whole_beside_its_stages_and_itself(
    segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.fromarray(texture((24, 32 + k))).save(tmp_path / "images" / f"{k}.png")
    words = [str(tmp_path / "net"), str(tmp_path / "images"), "--rounds=2", "--before", str(ROOT)]
    main([*words, "--engine=eager", f"--output={tmp_path / 'result.json'}"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert set(result["images_per_second"]) == {"reading", "network", "writing", "whole", "before"}
    assert result["equal_to_reference_percent"] > 99
    assert result["whole_to_slowest_stage"] > 0
    assert result["engines"] == ["eager"]
