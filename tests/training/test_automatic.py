"""`--auto`: what it chooses on which machine, and what it leaves alone."""

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace

from pretrain.cli import PretrainCLI
from rtseg.cli import main
from rtseg.training.automatic import Machine, choose
from rtseg.training.cli import RTSegCLI
from tests.helpers.command import check_refused, exit_status

AMX = Machine("cpu", 8, "amx_bf16")
AVX2 = Machine("cpu", 2)


def chosen(machine: Machine, *, batch: int = 16, checkpoint: Any = None, **given: Any) -> tuple[Any, ...]:
    """Precision, devices, strategy."""
    trainer = Namespace(precision=None, devices="auto", strategy="auto", num_nodes=1)
    trainer.update(Namespace(**given))
    lines = choose(trainer, machine, lambda processes: batch % processes == 0, checkpoint)
    assert len(lines) == 2
    assert all(line.startswith("--auto ") and line.endswith(".") for line in lines)
    return trainer.precision, trainer.devices, trainer.strategy


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (AMX, ("bf16-mixed", 2, "ddp")),
        (AVX2, ("32-true", 2, "ddp")),
        (Machine("cpu", 1), ("32-true", 1, "auto")),
        (Machine("cpu", 3), ("32-true", 1, "auto")),
        (Machine("cpu", 5), ("32-true", 2, "ddp")),
        (Machine("cpu", 8, system="win32"), ("32-true", 1, "auto")),
        (Machine("mps", 8, system="darwin"), ("32-true", 1, "auto")),
        (Machine("cuda", 8, gpus=((9, 0),)), ("bf16-mixed", 1, "auto")),
        (Machine("cuda", 8, gpus=((7, 5),)), ("16-mixed", 1, "auto")),
        (Machine("cuda", 8, gpus=((6, 1),)), ("32-true", 1, "auto")),
        (Machine("cuda", 8, gpus=((9, 0), (8, 0))), ("bf16-mixed", 2, "ddp")),
        (Machine("cuda", 8, gpus=((9, 0), (7, 0))), ("16-mixed", 2, "ddp")),
        (Machine("cuda", 8), ("32-true", 1, "auto")),  # --trainer.accelerator=cuda without a GPU
    ],
)
def test_what_suits_a_machine(machine: Machine, expected: tuple[Any, ...]) -> None:
    assert chosen(machine) == expected


def test_a_batch_that_does_not_divide_is_trained_by_fewer() -> None:
    assert chosen(AVX2, batch=7) == ("32-true", 1, "auto")
    assert chosen(Machine("cuda", 8, gpus=((9, 0),) * 8), batch=12) == ("bf16-mixed", 6, "ddp")


def test_what_is_given_stays() -> None:
    assert chosen(AMX, precision="32-true") == ("32-true", 2, "ddp")
    assert chosen(AMX, devices=1) == ("bf16-mixed", 1, "auto")
    assert chosen(AMX, strategy="ddp_spawn") == ("bf16-mixed", 2, "ddp_spawn")


def test_a_resumed_training_keeps_what_it_had() -> None:
    had = {"settings": {"trainer.precision": "32-true"}, "world_size": 1}
    assert chosen(AMX, checkpoint=had) == ("32-true", 1, "auto")
    assert chosen(AMX, checkpoint={**had, "world_size": 4}) == ("32-true", 4, "ddp")
    assert chosen(AVX2, checkpoint={**had, "world_size": 4}) == ("32-true", 2, "ddp")  # too many for this machine
    assert chosen(AMX, checkpoint={"settings": {}, "world_size": 0}) == ("bf16-mixed", 2, "ddp")  # an older one


def test_who_starts_the_processes_decides_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert chosen(AMX) == ("bf16-mixed", "auto", "auto")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert chosen(AMX) == ("bf16-mixed", 4, "ddp")
    assert chosen(AMX, checkpoint={"settings": {}, "world_size": 2}) == ("bf16-mixed", 4, "ddp")
    assert chosen(AMX, devices=1) == ("bf16-mixed", 1, "auto")


def test_processes_of_torchrun_that_would_train_alone_are_refused(
    tmp_path: Path, tiny_camvid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    flags = ("--data.dataset=camvid", f"--data.root={tiny_camvid}", "--trainer.accelerator=cpu")
    status = exit_status(main, "fit", *flags, "--trainer.max_steps=1", f"--output={tmp_path / 'run'}")
    check_refused(status, "torchrun started 2 processes, and each would train alone: give --auto", capsys)


def test_what_divides(tiny_camvid: Path) -> None:
    def divides(batch: int, processes: int, validated: float = 1.0) -> bool:
        data = Namespace(dataset="camvid", root=str(tiny_camvid), batch_size=batch, channels=None)
        trainer = Namespace(limit_val_batches=validated)
        return RTSegCLI.fits(None, Namespace(data=data, trainer=trainer), processes)  # type: ignore[arg-type]

    assert divides(4, 2)
    assert not divides(5, 2)
    assert not divides(2, 2)  # one image each, of which BatchNorm cannot learn
    assert not divides(1000, 500)  # more than the validation images
    assert divides(1000, 500, validated=0)
    data = Namespace(batch_size=12, device_batch_size=4)
    found = [PretrainCLI.fits(None, Namespace(data=data), number) for number in (1, 2, 3, 5)]  # type: ignore[arg-type]
    assert found == [True, False, True, False]


def test_a_training_says_what_is_chosen_and_keeps_it(
    tmp_path: Path, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}
    fit = [
        *("fit", "--auto", "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=3"),
        *("--data.crop_size=[32,48]", "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.max_steps=1"),
        *("--trainer.limit_val_batches=0", "--fps.enabled=false", f"--output={tmp_path / 'run'}"),
        *(f"--model.options.{key}={value}" for key, value in options.items()),
    ]
    assert exit_status(main, *fit, "--trainer.precision=32-true") == 0
    said = capsys.readouterr().out
    assert "--auto keeps --trainer.precision=32-true: it is given." in said
    assert "--auto chooses --trainer.devices=1: " in said
    assert exit_status(main, *fit, f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}") == 0
    said = capsys.readouterr().out
    assert "--auto keeps --trainer.precision=32-true: the checkpoint was trained with it." in said
    assert "--auto keeps --trainer.devices=1: the checkpoint was trained with it." in said
    assert "Nothing is left to train: the checkpoint has the last step, 1." in said
