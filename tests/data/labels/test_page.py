"""docs/convert-labels.md: its commands run as they are written, in one folder; the training takes two steps."""

import shlex
from pathlib import Path

import pytest

from rtseg.cli import main
from rtseg.data.dataset import create_dataset
from tests.helpers.command import exit_status
from tests.helpers.documented import ROOT, blocks

STEPS = (
    "--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu", "--data.num_workers=0",
    "--fps.enabled=false", "--data.batch_size=2", "--trainer.devices=1",
)  # fmt: skip


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for script in blocks(ROOT / "docs" / "convert-labels.md") for line in script.splitlines()]
    assert [line.split()[1] for line in lines] == ["make-data", "convert-labels", "fit", "predict", "convert-labels"]
    for line in lines:
        _, *words = shlex.split(line)
        assert exit_status(main, *words, *(STEPS if words[0] == "fit" else ())) == 0, line
    names = create_dataset("folder", tmp_path / "things_masks", "train").labels.names
    assert names == ("background", "disc", "ring", "triangle", "square", "star")
    assert set(create_dataset("folder", tmp_path / "corrected", "train").labels.names) == set(names)
