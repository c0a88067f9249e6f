"""`docs/own-images.md`, followed literally on real images: its blocks are taken from the page, in order, and run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "own-images.md"
CHANCE = {"first": 1 / 16, "road": 1 / 10}  # 1 / (2 * classes) is what guessing reaches
MARGIN = 0.1  # of mIoU, above chance


def blocks() -> list[tuple[str, str]]:
    """Language and content of each block of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def put(source: Path, images: str, masks: str, folder: Path) -> None:
    for kind, name in (("images", images), ("masks", masks)):
        (folder / kind).mkdir(parents=True)
        for file in sorted((source / name).iterdir()):
            shutil.copy(file, folder / kind / file.name)


def test_the_page_describes_its_config() -> None:
    text = PAGE.read_text()
    for flag in re.findall(r"^\| `([\w.]+)` \|", text, flags=re.M):
        part, _, key = flag.rpartition(".")
        assert key in (PAGE.parents[1] / "configs" / "rtformer_slim_folder.yaml").read_text() or part == "trainer"


@pytest.mark.slow
def test_the_page_followed_literally(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    put(data / "stanford_background", "images", "labels", tmp_path / "my")
    put(data / "comma10k", "imgs", "masks", tmp_path / "road")
    for kind in ("images", "masks"):  # the page leaves the colour masks' division to the reader
        files = sorted((tmp_path / "road" / kind).iterdir())
        for split, some in (("train", files[:3]), ("val", files[3:])):
            (tmp_path / "road" / kind / split).mkdir()
            for file in some:
                file.rename(tmp_path / "road" / kind / split / file.name)
    scores = {}
    for language, content in blocks():
        if language == "python":
            run([sys.executable, "-c", content], tmp_path)
        elif language == "yaml":
            (tmp_path / content.splitlines()[0].removeprefix("# ")).write_text(content)
        for line in content.replace("\\\n", " ").splitlines() if language == "bash" else []:
            program, *words = shlex.split(line)
            assert program == "rtseg"
            said = run([sys.executable, "-m", "rtseg", *words], tmp_path)
            if words[0] == "validate":
                (scores[Path(words[2]).parent.name],) = map(float, re.findall(r"mIoU (\d\.\d+)", said))
            if "--trainer.fast_dev_run" in words:
                assert "64 training pairs, 16 validation pairs; median image 240x320" in said
                assert not (tmp_path / "runs").exists()
    assert scores.keys() == CHANCE.keys()
    for name, score in scores.items():
        assert score > CHANCE[name] + MARGIN, scores
    for name in ("predictions", "predictions_of_onnx"):
        assert len(list((tmp_path / "runs" / "first" / name).glob("*_overlay.*"))) == 16
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
