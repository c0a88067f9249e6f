"""The script that times a training step: it trains, and says what it measured."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from benchmarks.pretraining_step import main, training_step


def test_a_step_trains() -> None:
    """The loss on its one batch falls: what is timed is no empty turn."""
    torch.manual_seed(0)
    step = training_step("rtformer_slim", torch.device("cpu"), 2, 32, bf16=False, channels_last=True, compile=False)
    with patch.object(torch.Tensor, "backward", autospec=True, side_effect=torch.Tensor.backward) as backward:
        for _ in range(12):
            step()
    losses = [float(call.args[0]) for call in backward.call_args_list]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--batch-size", "3"], "Mixup pairs images"), (["nosuchnet"], "unknown classifier 'nosuchnet'")],
)
def test_bad_input(flags: list[str], says: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: .*{says}"):
        main(flags)


def test_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "step.json"
    main(["--batch-size=2", "--image-size=32", "--seconds=0.1", "--device=cpu", f"--output={file}"])
    result = json.loads(file.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    (row,) = result["rows"]
    assert row["hours"] * 3600 * row["fps"] == pytest.approx(1_281_167 * 300)
    assert result["conditions"]["device"]["cores"] >= 1
