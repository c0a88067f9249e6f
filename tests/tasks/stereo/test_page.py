"""Each command of docs/stereo.md runs as it is written: on few pairs, with trainings of two steps."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from rtseg.cli import main
from tests.helpers.command import exit_status
from tests.helpers.documented import ROOT, blocks
from tests.helpers.psmnet import authors_state

SHORT = {
    "make-data": ["-n", "4", "--number-val", "1"],
    "fit": [
        "--trainer.max_steps=2", "--trainer.val_check_interval=2", "--data.batch_size=2", "--data.crop_size=[32,64]",
        "--data.num_workers=0", "--trainer.accelerator=cpu",
    ],
    "validate": ["--data.num_workers=0", "--trainer.accelerator=cpu"],
    "predict": ["--device=cpu"],
}  # fmt: skip


@pytest.mark.slow
def test_the_page_runs(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = authors_state(json.loads((shared / "golden/psmnet.json").read_text())["state_shapes"])
    torch.save({"state_dict": state}, "finetune_300.tar")
    script = "\n".join(blocks(ROOT / "docs/stereo.md"))
    scene = re.findall(r"^SCENE=(.*)$", script, re.M)[0]
    for line in script.replace("$SCENE", scene).splitlines():
        if line.startswith("rtseg "):
            words = shlex.split(line)[1:]
            command = words[1] if words[0] == "stereo" else words[0]
            assert exit_status(main, *words, *SHORT.get(command, [])) == 0, line
    assert Path("runs/disparity/0006.png").is_file()
    assert Path("runs/kitti_disparity/0006_colour.png").is_file()
