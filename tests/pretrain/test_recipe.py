"""Table 1 of RTFormer's appendix, read off the objects that the command builds from the configuration, and off one
optimizer step that it makes; the YAML's text is not looked at.
"""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from timm.data import RandomResizedCropAndInterpolation
from timm.data.auto_augment import RandAugment
from timm.loss import SoftTargetCrossEntropy
from torch.optim import AdamW
from torchvision import transforms

from pretrain.cli import PretrainCLI
from pretrain.datamodule import ImageNetData
from pretrain.module import ClassificationModule
from rtseg.layers.drop_path import DropPath
from rtseg.training.run_cli import run

CONFIGS = Path(__file__).parents[2] / "pretrain" / "configs"


class Watch(L.Callback):
    """Keeps what the first optimizer step was made of."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        self.optimizer: Any = optimizer
        self.groups = [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
        self.before = {id(p): p.detach().clone() for p in pl_module.parameters()}

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 0:
            self.gradients = {id(p): p.grad.clone() for p in pl_module.parameters() if p.grad is not None}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == 1 and not hasattr(self, "after"):
            self.after = {id(p): p.detach().clone() for p in pl_module.parameters()}
            trainer.should_stop = True


@pytest.fixture(scope="module", params=["rtformer_slim_in1k", "rtformer_base_in1k"])
def trained(
    request: pytest.FixtureRequest, tiny_imagenet: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PretrainCLI, Watch]:
    """The command after one step; of the recipe only what a test cannot afford is changed: the batch, the rate's batch
    with it, the width of the network, the images. In float64, so that the first step, a two-millionth, is seen.
    """
    watch = Watch()
    more = PretrainCLI.more_callbacks
    PretrainCLI.more_callbacks = lambda self, config: [watch]  # type: ignore[method-assign]
    flags = [
        f"--config={CONFIGS / request.param}.yaml", f"--data.root={tiny_imagenet}", "--data.batch_size=8",
        "--model.optim.lr_batch_size=8", "--data.device_batch_size=4", "--data.num_workers=0",
        "--model.options.base_channels=8", "--trainer.accelerator=cpu", "--trainer.precision=64-true",
        "--trainer.limit_val_batches=0", "--data.expected_classes=3",
        f"--output={tmp_path_factory.mktemp('run') / 'run'}",
    ]  # fmt: skip
    try:
        cli = run(PretrainCLI, ClassificationModule, ImageNetData, ["fit", *flags], "")
    finally:
        PretrainCLI.more_callbacks = more  # type: ignore[method-assign]
    assert isinstance(cli, PretrainCLI)
    return cli, watch


def test_optimizer(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, watch = trained
    assert isinstance(getattr(watch.optimizer, "optimizer", watch.optimizer), AdamW)
    weights, vectors = watch.groups
    for group in watch.groups:
        assert group["betas"] == (0.9, 0.999)
        assert group["lr"] == pytest.approx(5e-7)  # the warm-up's first
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.04, 0.0)
    trainable = [p for p in cli.model.parameters() if p.requires_grad]
    assert {id(p) for group in watch.groups for p in group["params"]} == {id(p) for p in trainable}
    assert all(p.ndim > 1 for p in weights["params"])
    assert all(p.ndim == 1 for p in vectors["params"])


def test_the_executed_step_is_adamws(trained: tuple[PretrainCLI, Watch]) -> None:
    """First step: decay off the weights, then one rate against each gradient's sign."""
    _, watch = trained
    for group in watch.groups:
        for p in group["params"]:
            gradient = watch.gradients[id(p)]
            kept = watch.before[id(p)] * (1 - group["lr"] * group["weight_decay"])
            torch.testing.assert_close(
                watch.after[id(p)], kept - group["lr"] * gradient / (gradient.abs() + 1e-8), rtol=0, atol=1e-12
            )


def test_schedule_over_the_whole_training(trained: tuple[PretrainCLI, Watch]) -> None:
    """300 epochs of five steps: the start, half-way up, the peak after 5 epochs, half-way down, the end."""
    cli, watch = trained
    (config,) = cli.trainer.lr_scheduler_configs
    scheduler: Any = config.scheduler
    (factor, _) = scheduler.lr_lambdas
    assert config.interval == "step"
    base = watch.groups[0]["initial_lr"]
    middle = (25 + 1500) // 2
    rates = [base * factor(step) for step in (0, 25 / 2, 25, middle, 1500)]
    assert rates == pytest.approx([5e-7, (5e-7 + 5e-4) / 2, 5e-4, (5e-6 + 5e-4) / 2, 5e-6], rel=2e-3)
    assert (rates[0], rates[2], rates[4]) == pytest.approx((5e-7, 5e-4, 5e-6), rel=1e-9)


def test_the_schedule_takes_one_step_for_a_batch_not_for_its_parts(trained: tuple[PretrainCLI, Watch]) -> None:
    """What the second optimizer step would be made with: one of the 25 steps up."""
    _, watch = trained
    for group in watch.optimizer.param_groups:
        assert group["lr"] == pytest.approx(5e-7 + (5e-4 - 5e-7) / 25, rel=1e-9)


def test_the_validation_crop(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, _ = trained
    dataset: Any = cli.datamodule.val_dataloader().dataset
    (resize,) = [step for step in dataset.transform.transforms if isinstance(step, transforms.Resize)]
    (crop,) = [step for step in dataset.transform.transforms if isinstance(step, transforms.CenterCrop)]
    assert (resize.size, tuple(crop.size)) == (256, (224, 224))


def test_transforms(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, _ = trained
    assert cli.trainer.train_dataloader is not None
    steps = cli.trainer.train_dataloader.dataset.transform.transforms
    (crop,) = [step for step in steps if isinstance(step, RandomResizedCropAndInterpolation)]
    assert (tuple(crop.size), tuple(crop.scale)) == ((224, 224), (0.08, 1.0))
    (randaugment,) = [step for step in steps if isinstance(step, RandAugment)]
    assert randaugment.num_layers == 2
    for operation in randaugment.ops:
        assert (operation.magnitude, operation.magnitude_std, operation.prob) == (9, 0.5, 0.5)
    (jitter,) = [step for step in steps if isinstance(step, transforms.ColorJitter)]
    for name in ("brightness", "contrast", "saturation"):
        assert getattr(jitter, name) == pytest.approx((0.6, 1.4))


def test_mixing_and_loss(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, _ = trained
    mixing = cli.model.mixing
    assert (mixing.erasing.probability, mixing.erasing.per_pixel) == (0.25, True)
    assert (mixing.mixup.mixup_alpha, mixing.mixup.cutmix_alpha) == (0.2, 1.0)
    assert (mixing.mixup.mix_prob, mixing.mixup.switch_prob, mixing.mixup.label_smoothing) == (1.0, 0.5, 0.1)
    assert isinstance(cli.model.loss, SoftTargetCrossEntropy)


def test_drop_path_is_off(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, _ = trained
    paths = [module for module in cli.model.classifier.modules() if isinstance(module, DropPath)]
    assert paths
    assert all(module.drop_prob == 0 for module in paths)


def test_the_batch_is_accumulated(trained: tuple[PretrainCLI, Watch]) -> None:
    cli, _ = trained
    assert cli.trainer.accumulate_grad_batches == 2


@pytest.mark.parametrize("name", ["rtformer_slim", "rtformer_base"])
def test_what_the_configuration_builds_where_nothing_else_is_typed(
    name: str, tmp_path: Path, tiny_imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network, the batch and the length, which the test above cannot afford."""
    monkeypatch.setattr(L.Trainer, "fit", lambda *built, **options: None)
    flags = [f"--config={CONFIGS / name}_in1k.yaml", f"--data.root={tiny_imagenet}", f"--output={tmp_path}"]
    flags.append("--data.expected_classes=3")
    cli: Any = run(PretrainCLI, ClassificationModule, ImageNetData, ["fit", *flags, "--trainer.accelerator=cpu"], "")
    assert (cli.datamodule.batch_size, cli.trainer.max_epochs) == (1024, 300)
    assert cli.model.optim.batch_scale(1024) == 1
    assert (cli.model.card.model, cli.model.card.attention) == (name, "gfa+ca")
