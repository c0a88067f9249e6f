"""The authors' four recipes, value by value, from what their configurations build.

PaddleSeg's rtformer_{slim,base}_{ade20k_512x512_160k,cityscapes_1024x512_120k}.
"""

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import albumentations as A
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import nn

from rtseg.data.augment import PAD, Distort, ScaledCrop
from rtseg.data.dataset import IGNORE, IdDecoder, SegmentationDataset
from rtseg.layers.drop_path import DropPath
from rtseg.models.paddle_names import to_state_dict
from rtseg.scenes import make_data
from rtseg.training.cli import RTSegCLI
from rtseg.training.datamodule import SegmentationData
from rtseg.training.losses import LossConfig
from rtseg.training.module import SegmentationModule

ROOT = Path(__file__).parents[2]


class Recipe(NamedTuple):
    """A column of the reference's table, and a row of its networks'."""

    batch: int
    steps: int
    crop: tuple[int, int]
    weight_decay: float
    peak: float
    end: float
    drop_path: float
    eval_resize: tuple[int, int] | None
    classes: int


DATA = {
    "cityscapes": Recipe(12, 120_000, (512, 1024), 0.0125, 4e-4, 1e-6, 0.2, None, 19),
    "ade20k": Recipe(16, 160_000, (512, 512), 0.05, 1e-4, 1e-7, 0.1, (512, 2048), 150),
}
# base_channels, head_channels, cross_size, injection
NETWORKS = {
    "rtformer_slim_ade20k": (32, 64, 8, (True, False)),
    "rtformer_base_ade20k": (64, 128, 12, (True, False)),
    "rtformer_slim_cityscapes": (32, 64, 12, (True, True)),
    "rtformer_base_cityscapes": (64, 128, 12, (True, False)),
}
every_recipe = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * ("base" in name)) for name in NETWORKS]
)


def recipe_of(name: str) -> Recipe:
    return DATA[name.rpartition("_")[2]]


def built(name: str, *args: str, device: str = "meta") -> RTSegCLI:
    """What a configuration builds."""
    with pytest.MonkeyPatch.context() as patch, torch.device(device):
        patch.setattr(sys, "argv", ["rtseg"])  # LightningCLI warns of arguments there beside `args`
        cli = RTSegCLI(
            SegmentationModule, SegmentationData,
            args=["--config", str(ROOT / "configs" / f"{name}.yaml"), *args],
            run=False, trainer_defaults={"logger": False},
        )  # fmt: skip
    cli.model._trainer = cli.trainer
    return cli


@pytest.fixture(scope="module")
def shipped() -> Callable[[str], RTSegCLI]:
    """What a shipped configuration builds, without weights; no test may change it."""
    return cache(built)


@every_recipe
def test_the_network_is_the_references(name: str, shipped: Callable[[str], RTSegCLI]) -> None:
    segmenter, recipe = shipped(name).model.segmenter, recipe_of(name)
    base, head, cross_size, injection = NETWORKS[name]
    assert segmenter.backbone.stem[0].weight.shape == (base, 3, 3, 3)
    assert segmenter.head.classifier.classify[2].weight.shape == (recipe.classes, 2 * head, 1, 1)
    assert segmenter.aux_head.classify[2].weight.shape == (recipe.classes, head, 1, 1)
    assert segmenter.card.attention == "gfa+ca"
    for block, injects in zip((segmenter.backbone.block4, segmenter.backbone.block5), injection, strict=True):
        assert block.high_attention.cross_size == cross_size
        assert any(key.startswith("high_to_low") for key in block.state_dict()) == injects
    drops = [module.drop_prob for module in segmenter.modules() if isinstance(module, DropPath)]
    assert set(drops) == {recipe.drop_path}
    norms = {key: module for key, module in segmenter.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {module.momentum for module in norms.values()} == {0.1}  # the paper's; in Paddle's code 0.1 is 0.9
    assert all(module.eps == (1e-6 if "mlp.norm" in key else 1e-5) for key, module in norms.items())
    stored = json.loads((ROOT / "tests/golden/state_shapes.json").read_text())[name]["state"]
    shapes = {key: tuple(value.shape) for key, value in to_state_dict(_empty(stored)).items()}
    assert shapes == {key: tuple(value.shape) for key, value in segmenter.state_dict().items()}


def _empty(stored: dict[str, list[int]] | list[Any]) -> dict[str, np.ndarray]:
    return {key: np.empty(shape, np.float32) for key, shape in dict(stored).items()}


@every_recipe
def test_the_optimizer_is_the_references(name: str, shipped: Callable[[str], RTSegCLI]) -> None:
    module, recipe = shipped(name).model, recipe_of(name)
    assert module.step_size == recipe.batch
    optimizer, schedule = module.create_optimizer(recipe.steps)
    assert type(optimizer) is torch.optim.AdamW
    names = {id(parameter): key for key, parameter in module.segmenter.named_parameters()}
    paddles = json.loads((ROOT / "tests/golden/state_shapes.json").read_text())[name]["state"]
    faster = {
        ours
        for theirs, shape in dict(paddles).items()
        for ours in to_state_dict(_empty({theirs: shape}))
        if theirs.startswith(("spp.", "seghead.", "seghead_extra."))
    }
    for group, factor in zip(optimizer.param_groups, (1, 10), strict=True):
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, recipe.weight_decay)
        assert not group["amsgrad"]
        keys = {names.pop(id(parameter)) for parameter in group["params"]}  # fails where one is in two groups
        assert (keys <= faster) if factor == 10 else not keys & faster
        assert group["initial_lr"] == pytest.approx(factor * recipe.peak, rel=1e-12)
    assert not names  # every parameter learns and decays
    rates = [factor * schedule.lr_lambdas[0](step) for step in (0, 750) for factor in (recipe.peak,)]
    assert rates == pytest.approx([1e-6, (1e-6 + recipe.peak) / 2], rel=1e-12)
    for step in (1500, 1501, recipe.steps // 2, recipe.steps - 1):
        done = (step - 1500) / (recipe.steps - 1500)
        expected = (recipe.peak - recipe.end) * (1 - done) + recipe.end
        assert recipe.peak * schedule.lr_lambdas[1](step) == pytest.approx(expected, rel=1e-12)


@every_recipe
def test_the_schedule_is_paddlesegs_to_the_last_digit(
    name: str, shipped: Callable[[str], RTSegCLI], shared: Path
) -> None:
    golden, dataset = np.load(shared / "golden" / "lr_schedules.npz"), name.rpartition("_")[2]
    config, steps = shipped(name).model.optim, recipe_of(name).steps
    rates = [config.learning_rate(int(step), steps) for step in golden[f"{dataset}/iter0based"]]
    np.testing.assert_array_equal(rates, golden[f"{dataset}/lr"])


@every_recipe
def test_the_training_is_the_references(name: str, shipped: Callable[[str], RTSegCLI]) -> None:
    cli, recipe = shipped(name), recipe_of(name)
    module, trainer = cli.model, cli.trainer
    assert (trainer.max_steps, trainer.max_epochs, trainer.accumulate_grad_batches) == (recipe.steps, -1, 1)
    assert trainer.precision == "32-true"
    assert trainer.gradient_clip_val is None
    assert module.ema is None
    assert module.loss == LossConfig()  # no OHEM, no class weights, no Jaccard loss
    assert module.total_loss.terms == {"main": ("cross_entropy", "main", 1.0), "aux": ("cross_entropy", "aux", 0.4)}


@every_recipe
def test_the_images_are_the_references(name: str, shipped: Callable[[str], RTSegCLI]) -> None:
    data, recipe = shipped(name).datamodule, recipe_of(name)
    scaled, flip, distort = data.augment._pipeline.transforms
    assert isinstance(scaled, ScaledCrop)
    assert (scaled.scales, scaled.crop) == ((0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), recipe.crop)
    assert (PAD, IGNORE) == (127, 255)
    assert isinstance(flip, A.HorizontalFlip)
    assert flip.p == 0.5
    assert isinstance(distort, Distort)
    assert (distort.strength, distort.hue, distort.p) == (0.4, 18, 1)
    card = shipped(name).model.card
    assert (card.mean, card.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (data.num_classes, data.labels.ignore_index) == (recipe.classes, 255)
    assert data.batch_size == recipe.batch
    assert data.eval_transform.resize == recipe.eval_resize
    # PaddleSeg's networks give logits of the size that they see; its scoring resizes those once more.
    assert data.upsampling == ("twice" if recipe.eval_resize else "once")


def test_the_rate_follows_the_global_batch(shipped: Callable[[str], RTSegCLI]) -> None:
    """Devices share a batch; accumulated batches are a larger one."""
    data, module = (
        SegmentationData("cityscapes", "nowhere", 12, num_workers=0),
        shipped("rtformer_slim_cityscapes").model,
    )
    nowhere = [(Path("image"), Path("mask"))] * 30
    data._splits["train"] = SegmentationDataset(nowhere, data.labels, "train", IdDecoder({}))
    for devices, parts in ((1, 1), (2, 1), (1, 2), (2, 2)):
        trainers: list[Any] = [
            SimpleNamespace(global_rank=rank, world_size=devices, accumulate_grad_batches=parts)
            for rank in range(devices)
        ]
        loaders = []
        for data.trainer in trainers:
            loaders.append(data.create_train_loader())
        batches = [next(iter(loader.batch_sampler)) for loader in loaders]  # type: ignore[arg-type]
        assert [len(batch) for batch in batches] == [12 // devices] * devices
        assert len({key.sample for batch in batches for key in batch}) == 12
        assert {len(loader) for loader in loaders} == {2}  # the six images that make no whole batch are left out
        with mock.patch.object(module, "_trainer", trainers[0]):
            optimizer, schedule = module.create_optimizer(120_000)
        assert [group["initial_lr"] for group in optimizer.param_groups] == pytest.approx([4e-4 * parts, 4e-3 * parts])
        assert schedule.get_last_lr() == pytest.approx([1e-6 * parts, 1e-5 * parts])


def test_batch_norm_is_synchronised_by_itself_where_two_gpus_train() -> None:
    """Two GPUs that are said to be there: built, not run on one."""
    gpus = (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=2),
        mock.patch("lightning.fabric.accelerators.cuda.num_cuda_devices", return_value=2),
        mock.patch("lightning.pytorch.accelerators.cuda.num_cuda_devices", return_value=2),
        mock.patch("torch.cuda.get_device_name", return_value="none"),
        mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
    )
    with gpus[0], gpus[1], gpus[2], gpus[3], gpus[4], gpus[5]:
        cli = built("rtformer_slim_ade20k", "--trainer.accelerator=gpu", "--trainer.devices=2")
    assert cli.trainer.world_size == 2
    synchronise = cli.trainer.strategy._layer_sync  # type: ignore[attr-defined]
    assert isinstance(synchronise, TorchSyncBatchNorm)
    norms = [module for module in cli.model.modules() if isinstance(module, nn.BatchNorm2d)]
    converted = [module for module in synchronise.apply(cli.model).modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(converted) == len(norms)
    assert {module.momentum for module in converted} == {0.1}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_references(name: str, tmp_path: Path) -> None:
    """On small crops, at the peak of the rate: the loss, and every parameter after it, by the formulas."""
    recipe, (dataset,) = recipe_of(name), name.split("_")[2:]
    root = make_data(dataset, recipe.batch, tmp_path / "data", n_val=1, size=(64, 64))
    flags = [f"--data.root={root}", "--data.crop_size=[32,32]", "--data.num_workers=0"]
    cli = built(name, *flags, device="cpu")
    module, batch = cli.model.train(), next(iter(cli.datamodule.train_dataloader()))
    assert (batch.image.shape, batch.image.dtype) == ((recipe.batch, 3, 32, 32), torch.uint8)
    optimizer, schedule = module.create_optimizer(recipe.steps)
    schedule.last_epoch = 1499
    optimizer.step()  # without gradients: nothing moves
    schedule.step()
    torch.manual_seed(3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (module.card.mean, module.card.std))
    outputs = module.segmenter.forward_train((batch.image / 255 - mean) / std)
    assert outputs.keys() == {"main", "aux"}
    labelled = (batch.mask != 255).float()
    expected = {}
    for key, weight in (("main", 1.0), ("aux", 0.4)):
        logits = F.interpolate(outputs[key], size=(32, 32), mode="bilinear", align_corners=False)
        pixels = F.cross_entropy(logits, batch.mask.long(), ignore_index=255, reduction="none")
        expected[key] = weight * (pixels * labelled).mean().item() / (labelled.mean().item() + 1e-8)
    terms = module.losses(batch, seed=3)
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, rel=1e-4)
    before = {key: parameter.detach().clone() for key, parameter in module.segmenter.named_parameters()}
    (terms["main"] + terms["aux"]).backward()
    optimizer.step()
    for key, parameter in module.segmenter.named_parameters():
        rate, gradient = recipe.peak * (1 if key.startswith("backbone.") else 10), parameter.grad
        assert gradient is not None
        moved = before[key] * (1 - rate * recipe.weight_decay) - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), moved, rtol=1e-5, atol=2e-3 * rate)
