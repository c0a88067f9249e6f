"""The script that times the input pipeline beside torchvision and timm."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import input_pipeline


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four validation pictures of 80x60."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for k in range(number):
                pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((80, 60)).save(root / split / name / f"{k}.JPEG")
    return root


def test_figures(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "pipeline.json"
    flags = ["--root", str(root), "--enlarge", "6", "--workers", "0", "--batch-size", "2", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["input_pipeline.py", *flags, "-o", str(output)])
    input_pipeline.main()
    results = json.loads(output.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == results
    assert results["data"]["images"] == 6
    assert results["data"]["mean megapixels"] == pytest.approx(500 * 375 / 1e6, abs=1e-3)
    assert results["images/s"].keys() == {"folder", "shards", "torchvision + timm"}
    assert all(rate > 0 for rate in results["images/s a core"].values())
    assert all(milliseconds > 0 for milliseconds in results["ms an image, one core"].values())


@pytest.mark.parametrize("flag", ["--number", "--workers", "--batch-size", "--rounds", "--enlarge"])
def test_bad_input_ends_in_one_line(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["input_pipeline.py", flag, "-1"])
    with pytest.raises(SystemExit, match=f"error: {flag} -1 must be at least"):
        input_pipeline.main()
