"""What `rtseg fit` prints: every line says something, at 80 columns."""

import re
from pathlib import Path

import pytest

from rtseg.cli import main
from tests.helpers.command import exit_status

WIDTH = 80
TINY_OPTIONS = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}


@pytest.mark.parametrize("terminal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_training_in_a_few_lines(
    tmp_path: Path,
    tiny_camvid: Path,
    terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TTY_COMPATIBLE": str(int(terminal)), "COLUMNS": str(WIDTH), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    options = [f"--model.options.{key}={value}" for key, value in TINY_OPTIONS.items()]
    flags = [
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=3", "--data.crop_size=[32,48]",
        "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--fps.enabled=false",
    ]  # fmt: skip
    assert exit_status(main, "fit", *options, *flags, f"--output={tmp_path / 'run'}") == 0
    printed, errors = capsys.readouterr()
    assert re.search("Tip|Seed|GPU|TPU|stopped|workers|monitored", errors) is None
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.replace("\r", "\n"))
    lines = [line.rstrip() for line in seen.splitlines() if line.strip()]
    bars = [line for line in lines if "━" in line or line in ("Epoch 1 of 1", "validating")]  # an empty one is blank
    said = [re.sub(r"[0-9.]+", "#", line) for line in lines if line not in bars]
    of_training = next(k for k, line in enumerate(said) if line.startswith("rtformer_slim"))  # those of the data before
    best = re.sub(r"[0-9.]+", "#", str(Path("run", "best.ckpt")))
    assert said[of_training:] == [
        "rtformer_slim: # million parameters, # classes# # steps of # images (CPU, #-true)#",
        "Epoch # of #: mIoU # (best)",
        f"Trained # steps in # s# The best checkpoint: {best}",
    ]
    assert all("Classes in" in line or "pairs" in line for line in said[:of_training])
    assert bool(bars) == terminal
    assert all(len(line) <= WIDTH for line in bars)
