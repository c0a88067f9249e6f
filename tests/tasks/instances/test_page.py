"""docs/instances.md: each of its commands runs as it is written, on few small images and for two steps."""

import shlex
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50

from rtseg.cli import main
from tests.helpers.command import exit_status
from tests.helpers.documented import ROOT, blocks

STEPS = (
    "--trainer.max_steps=2", "--trainer.max_epochs=-1", "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu",
    "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1", "--data.batch_size=2",
    "--data.num_workers=0", "--model.options.sizes=[64]",
)  # fmt: skip


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(resnet50().state_dict(), "resnet50.pth")
    scripts = blocks(ROOT / "docs" / "instances.md")
    lines = [line for script in scripts for line in script.splitlines() if line.startswith("rtseg ")]
    assert len(lines) == 8
    for line in lines:
        _, *words = shlex.split(line)
        if words[0] == "make-data":
            words = ["12" if word == "1200" else "4" if word == "100" else word for word in words]
        elif words[1] == "fit":
            words += STEPS
        elif words[1] == "validate":
            words += ["--trainer.accelerator=cpu", "--data.num_workers=0"]
        assert exit_status(main, *words) == 0, line
        (Path("data") / "coco").parent.mkdir(exist_ok=True)
        if not Path("data/coco").exists():
            Path("data/coco").symlink_to(tmp_path / "runs/things/data")
    assert Path("runs/things/found/predictions.json").is_file()
