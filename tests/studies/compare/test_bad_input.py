"""What `rtseg compare` refuses, and in what words."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.speed.benchmark import Candidate, Case, Conditions
from rtseg.studies.compare import compare
from rtseg.studies.compare.speed import fits_memory
from tests.helpers.command import check_refused, exit_status
from tests.helpers.compare import TINY

# --- bad input, and what cannot be had


def test_a_network_that_does_not_fit_is_said_to(tmp_path: Path) -> None:
    class Greedy(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.empty(1 << 60, dtype=torch.uint8)

    network = create_model("rtformer_slim", 3, **{k: v for k, v in TINY.items() if k != "drop_path"})  # type: ignore[arg-type]
    assert fits_memory(Case(Candidate(network), "eager", (1, 32, 32)), Conditions(device="cpu"))
    network.backbone = Greedy()  # type: ignore[assignment]
    assert not fits_memory(Case(Candidate(network), "eager", (1, 32, 32)), Conditions(device="cpu"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--atention", "sa"], "'--atention' is not an option of this command. Did you mean '--attention'?"),
        (["sa"], "'sa' does not belong to an option; give a row as --attention sa"),
        (["--seed=3"], "Did you mean '--seeds'?"),
        (["--seconds", "-1"], "seconds=-1.0 must be above 0"),
        (["--seconds", "nan"], "seconds=nan must be a finite number"),
        (["--attention", "gfa:groups=7"], "groups=7"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--num-classes", "0"], "num_classes=0"),
        pytest.param(["--data", "/", "--epochs", "1"], "no CamVid data in /", marks=pytest.mark.slow),
        pytest.param(
            ["--data", "DATA", "--epochs", "1", "--trainer.precison=32"],
            "Did you mean 'trainer.precision'?",
            marks=pytest.mark.slow,
        ),
        (["--data", "DATA", "--epochs", "1", "--fps.seconds=1"], "'--fps.seconds' has no effect here"),
        (["--epochs", "3"], "--data DIR"),
        (["--data", "DATA"], "--epochs N"),
        (["--data", "DATA", "--epochs", "0"], "--epochs 0 must be at least 1"),
        (["--data", "nowhere", "--epochs", "1"], "--data nowhere: no such folder"),
        (["--data", "DATA", "--epochs", "1", "--config", "no.yaml"], "--config: there is no file 'no.yaml'"),
        (["--data", "DATA", "--epochs", "1", "--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--data", "DATA", "--epochs", "1", "--jobs", "-1"], "--jobs -1 must be at least 1"),
        (
            ["--data", "DATA", "--epochs", "1", "--trainer.max_epochs=3"],
            "'--trainer.max_epochs' is set by the comparison",
        ),
        (["--data", "DATA", "--epochs", "1", "--trainer.precision", "32"], "'--trainer.precision' is not an option"),
        (["--trainer.precision=32-true"], "--trainer.precision=32-true"),
        (["--attention", "ca"], "'ca' reads the low-resolution branch"),
        (["--input-size", "0", "5"], "height=0 must be a whole number of at least 1"),
        (["--threads", "0"], "threads=0 must be a whole number of at least 1"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: Sequence[str],
    words: str,
    config: Path,
    tiny_camvid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [str(tiny_camvid) if argument == "DATA" else argument for argument in arguments]
    more = [] if "--config" in arguments else ["--config", str(config)]
    with pytest.raises(SystemExit) as end:
        main(["compare", "-o", str(tmp_path / "out"), *more, *filled])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_default_recipe_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refused(exit_status(main, "compare", "--data=lost", "--epochs=1"), "--data lost: no such folder", capsys)


def test_a_foreign_measurement_is_named(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(UserError, match=r"speed.json' was not written by a comparison \(no entry"):
        compare(["gfa"], tmp_path, conditions=Conditions(device="cpu", seconds=0.05, sizes=[(32, 32)]))
