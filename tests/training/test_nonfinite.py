"""Trainings with poison in them: none goes on with NaN, and what is on disk is finite."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from rtseg.data.dataset import Sample
from rtseg.errors import UserError
from rtseg.models import Segmenter
from rtseg.training.checkpoint import AtomicCheckpointIO, BestCheckpoint
from rtseg.training.finite import named_tensors, not_finite
from rtseg.training.module import SegmentationModule
from rtseg.training.nonfinite import MOST_IN_A_ROW
from rtseg.training.results import NONFINITE

CLASSES = 3


def batches(number: int, size: int = 32) -> DataLoader:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 2, 3, size, size), generator=draw, dtype=torch.uint8)
    masks = torch.randint(CLASSES, (number, 2, size, size), generator=draw)
    names = [[f"image{k}a", f"image{k}b"] for k in range(number)]
    parts = [Sample(*part, [(size, size)] * 2) for part in zip(images, masks, names, strict=True)]  # type: ignore[arg-type]
    return DataLoader(parts, batch_size=None)  # type: ignore[arg-type]


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * torch.inf


class Poisoned(SegmentationModule):
    """Does `poison(module, terms)` to the losses of the batches with these numbers."""

    def __init__(self, poison: Callable[["Poisoned", dict[str, Tensor]], None], at: set[int], **options: Any) -> None:
        torch.manual_seed(1)
        # Lightning keeps the arguments of the innermost class: those of the network alone.
        super().__init__("rtformer_slim", CLASSES, batch_size=2, **options)
        self.poison, self.at = poison, at

    def losses(self, batch: Sample[Tensor], seed: int) -> dict[str, Tensor]:
        terms = super().losses(batch, seed)
        if self.trainer.fit_loop.total_batch_idx in self.at:
            self.poison(self, terms)
        return terms


def loss(module: Poisoned, terms: dict[str, Tensor]) -> None:
    terms["aux"] = terms["aux"] * torch.nan


def gradient(module: Poisoned, terms: dict[str, Tensor]) -> None:
    terms["main"] = _InfiniteGradient.apply(terms["main"])


def rate(module: Poisoned, terms: dict[str, Tensor]) -> None:
    for group in module.trainer.optimizers[0].param_groups:
        group["lr"] = 1e30


def statistics(module: Poisoned, terms: dict[str, Tensor]) -> None:
    next(value for name, value in module.segmenter.named_buffers() if "running_var" in name).data.fill_(torch.inf)


@pytest.fixture
def network(tiny_model: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a module; without its name."""
    optim = {"lr": 3e-3, "warmup_steps": 0, "lr_batch_size": None}
    return {"attention": tiny_model["attention"], "options": tiny_model["options"], "optim": optim, "ema_decay": 0.9}


def trainer(folder: Path, **options: Any) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder,
        **{"max_epochs": 1, "enable_checkpointing": False, **quiet, **options},
    )  # fmt: skip


class Watch(L.Callback):
    """What the module, and the optimizer under "0.exp_avg" and the like, hold after each batch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.optimizers: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self.states.append(copy.deepcopy(pl_module.state_dict()))
        self.optimizers.append(copy.deepcopy(dict(named_tensors(trainer.optimizers[0].state_dict()["state"]))))


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        (
            loss,
            r"the loss is not finite: main [\d.]+, aux nan; .*Try a lower model.optim.lr.* Images: image1a, image1b",
        ),
        (gradient, r"the gradient is not finite, nearest to the loss in head\..*\(\d+ of \d+ tensors\)"),
        (
            rate,
            r"the update made weights that are out of range; learning rate 1e\+30 \(backbone\), .*precision 32-true",
        ),
        (statistics, r"the update made weights that are not finite: .*running_var"),
    ],
)
def test_a_poisoned_step_stops_the_training(tmp_path: Path, network: dict[str, Any], poison: Any, says: str) -> None:
    """What it leaves are the weights of the step before, which predict."""
    watch, module = Watch(), Poisoned(poison, {1}, **network)
    (tmp_path / NONFINITE).write_bytes(b"of an earlier training")
    with pytest.raises(UserError, match=f"Step 2, epoch 1: {says}"):
        trainer(tmp_path, callbacks=[watch]).fit(module, batches(3))
    (before,) = watch.states
    assert same(module.state_dict(), before)
    assert (tmp_path / f"{NONFINITE}.old").read_bytes() == b"of an earlier training"
    left = torch.load(tmp_path / NONFINITE, weights_only=True)
    assert not not_finite(named_tensors(left))
    assert left["nonfinite"]["batch"]["name"] == ["image1a", "image1b"]
    segmenter = Segmenter.from_pretrained(tmp_path / NONFINITE)
    assert same(segmenter.state_dict(), module.evaluated.state_dict())


@pytest.mark.parametrize("poison", [pytest.param(loss, marks=pytest.mark.slow), gradient])
def test_skip_undoes_the_whole_step_and_counts_it(tmp_path: Path, network: dict[str, Any], poison: Any) -> None:
    """Weights, statistics, moving average and the optimizer's state are those of the step before."""
    watch, module = Watch(), Poisoned(poison, {0, 2}, nonfinite="skip", **network)
    fresh = copy.deepcopy(module.state_dict())
    run = trainer(tmp_path, callbacks=[watch])
    run.fit(module, batches(4))
    for seen, begin in ((watch.states, fresh), (watch.optimizers, {})):
        assert same(seen[0], begin)
        assert not same(seen[1], seen[0])
        assert same(seen[2], seen[1])
        assert not same(seen[3], seen[2])
    assert run.logged_metrics["train/skipped"] == 2
    run.save_checkpoint(tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["skipped_steps"] == [2, 0]


def test_a_gradient_scaler_may_lower_its_scale_but_not_forever(tmp_path: Path, network: dict[str, Any]) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-19)
    module = Poisoned(gradient, set(range(9)), **network)
    with pytest.raises(UserError, match=r"Step 3, epoch 1: the gradient is not finite at any scale, down to 4.8e-07"):
        trainer(tmp_path, plugins=[MixedPrecision("16-mixed", "cpu", scaler)]).fit(module, batches(4))


def test_skip_has_a_limit(tmp_path: Path, network: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    module = Poisoned(loss, set(range(99)), nonfinite="skip", **network)
    with pytest.raises(UserError, match=f"{MOST_IN_A_ROW + 1} such steps in a row"):
        trainer(tmp_path, max_epochs=5).fit(module, batches(4))
    assert capsys.readouterr().out.count("The step is left out") == MOST_IN_A_ROW


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_of_an_accumulated_step_the_bad_part_is_named(
    tmp_path: Path, network: dict[str, Any], mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = Poisoned(loss, {0}, nonfinite=mode, **network)
    fresh, run = copy.deepcopy(module.state_dict()), trainer(tmp_path, accumulate_grad_batches=2)
    if mode == "skip":
        run.fit(module, batches(2))
        assert "image0a" in capsys.readouterr().out
    else:
        with pytest.raises(UserError, match="image0a"):
            run.fit(module, batches(2))
    assert same(module.state_dict(), fresh)


def test_a_network_that_is_not_finite_does_not_begin(tmp_path: Path, network: dict[str, Any]) -> None:
    module = Poisoned(loss, set(), **network)
    assert module.ema is not None
    with torch.no_grad():
        next(module.ema.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match=r"not finite before the first step \(ema\.module\.backbone"):
        trainer(tmp_path).fit(module, batches(1))


@pytest.mark.parametrize("damage", [lambda own: own.pop("exp_avg"), lambda own: own.update(exp_avg=torch.ones(3))])
def test_a_state_of_another_network_is_not_resumed(tmp_path: Path, network: dict[str, Any], damage: Any) -> None:
    file, begun = tmp_path / "last.ckpt", trainer(tmp_path)
    begun.fit(Poisoned(loss, set(), **network), batches(1))
    begun.save_checkpoint(file)
    checkpoint = torch.load(file, weights_only=True) | {"total_steps": 2}
    damage(checkpoint["optimizer_states"][0]["state"][4])
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match=r"state of the optimizer .* not of this network \(4\.exp_avg\)"):
        trainer(tmp_path, max_epochs=2).fit(Poisoned(loss, set(), **network), batches(1), ckpt_path=file)


def test_the_kept_step_is_no_place_to_resume(tmp_path: Path, network: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="Step 1"):
        trainer(tmp_path).fit(Poisoned(loss, {0}, **network), batches(1))
    with pytest.raises(UserError, match=r"resume from last\.ckpt"):
        trainer(tmp_path).fit(Poisoned(loss, set(), **network), batches(1), ckpt_path=tmp_path / NONFINITE)


def test_logits_that_are_not_finite_are_no_score(
    tmp_path: Path, network: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Class 0 is the largest of NaN, and would score well where class 0 is large. Here all is class 0."""

    class Blind(Poisoned):
        def on_validation_epoch_start(self) -> None:
            super().on_validation_epoch_start()
            self.evaluated.head.register_forward_hook(lambda *call: call[-1] * torch.nan)

    images = [
        Sample(torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(32, 32, dtype=torch.int64), f"val{k}", (32, 32))
        for k in range(2)
    ]
    val: DataLoader = DataLoader(images, batch_size=None)  # type: ignore[arg-type]
    best = BestCheckpoint(tmp_path, "val/miou")
    run = trainer(tmp_path, enable_checkpointing=True, callbacks=[best], num_sanity_val_steps=0)
    module = Blind(loss, set(), **network)
    run.fit(module, batches(1), val)
    assert all(value.isnan() for key, value in run.callback_metrics.items() if key.startswith("val/"))
    assert capsys.readouterr().out.count("The logits of image 'val0' are not finite") == 1
    assert not (tmp_path / "best.ckpt").exists()
    with pytest.raises(UserError, match="the logits of 2 of the images are not finite"):
        run.validate(module, val, verbose=False)


@pytest.mark.parametrize("key", ["state_dict", "ema_state_dict", "optimizer_states"])
def test_no_checkpoint_that_is_not_finite_is_written(tmp_path: Path, key: str) -> None:
    weights, target = {"weight": torch.tensor([1.0, torch.nan])}, tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, target)
    whole = target.read_bytes()
    entry = [{"state": {0: weights}}] if key == "optimizer_states" else weights
    with pytest.raises(UserError, match=re.escape(f"last.ckpt is not written: {key}.")):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, key: entry}, target)
    assert target.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_two_processes_agree_and_the_one_that_saw_it_speaks(tmp_path: Path, mode: str) -> None:
    """The loss of the second process alone is NaN, which makes the gradient of both NaN."""
    script = tmp_path / "train.py"
    script.write_text(
        f"""
from pathlib import Path
import lightning as L
from tests.training.test_nonfinite import Poisoned, batches, loss, trainer

class Only(Poisoned):
    def losses(self, batch, seed):
        self.at = {{2}} if self.global_rank == 1 else set()
        return super().losses(batch, seed)

class End(L.Callback):
    def on_train_end(self, trainer, module):
        print("the weights add up to", sum(p.sum().item() for p in module.segmenter.parameters()), flush=True)

options = {{"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}}
module = Only(loss, set(), nonfinite="{mode}", options=options)
fitting = trainer(Path("{tmp_path}"), devices=2, strategy="ddp", use_distributed_sampler=False, callbacks=[End()])
fitting.fit(module, batches(4))
"""
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    said = done.stdout + done.stderr
    assert re.search(r"Step 3, epoch 1: the loss is not finite: main [\d.]+, aux nan; .*image2a", said), said
    if mode == "stop":
        assert done.returncode != 0
        assert (tmp_path / NONFINITE).is_file()
    else:
        first, second = re.findall(r"the weights add up to (\S+)", said)
        assert first == second
