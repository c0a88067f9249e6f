from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.training.optim import OptimConfig, create_optimizer

RECIPES = {
    "cityscapes": (OptimConfig(), 120_000),
    "ade20k": (OptimConfig(lr=1e-4, lr_batch_size=16, weight_decay=0.05, end_lr=1e-7), 160_000),
}


@pytest.mark.parametrize("name", RECIPES)
def test_schedule_equals_paddleseg(shared: Path, name: str) -> None:
    golden = np.load(shared / "golden" / "lr_schedules.npz")
    config, steps = RECIPES[name]
    ours = [config.learning_rate(int(i), steps) for i in golden[f"{name}/iter0based"]]
    np.testing.assert_allclose(ours, golden[f"{name}/lr"], rtol=1e-6)


class _Net(nn.Module):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.backbone = nn.ParameterList([weight])
        self.head = nn.ParameterList([bias])


def test_adamw_equals_paddle(shared: Path) -> None:
    golden = np.load(shared / "golden" / "adamw.npz")
    net = _Net(torch.from_numpy(golden["w0"]), torch.from_numpy(golden["b0"]))
    optimizer, _ = create_optimizer(net, OptimConfig(weight_decay=0.0125, lr_batch_size=None), total_steps=8)
    for step, lr in enumerate(golden["lr"]):
        for group, factor in zip(optimizer.param_groups, (1, 10), strict=True):
            group["lr"] = float(lr) * factor
        net.backbone[0].grad = torch.from_numpy(golden[f"gw{step}"])
        net.head[0].grad = torch.from_numpy(golden[f"gb{step}"])
        optimizer.step()
        np.testing.assert_allclose(net.backbone[0].detach(), golden[f"w{step + 1}"], rtol=1e-6, atol=5e-7)
        np.testing.assert_allclose(net.head[0].detach(), golden[f"b{step + 1}"], rtol=1e-6, atol=5e-7)


def test_every_parameter_is_in_one_group_and_heads_are_faster() -> None:
    segmenter = create_model("rtformer_slim", 3)
    config = OptimConfig(lr=1e-3, lr_batch_size=16, head_lr_factor=10, warmup_steps=2, warmup_lr=0)
    optimizer, schedule = create_optimizer(segmenter, config, total_steps=10, batch_size=8)
    body, heads = optimizer.param_groups
    assert len(body["params"]) + len(heads["params"]) == len(list(segmenter.parameters()))
    assert {id(p) for p in heads["params"]} == {
        id(p) for m in (segmenter.head, segmenter.aux_head) for p in m.parameters()
    }
    assert body["lr"] == 0  # the climb begins at warmup_lr
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert body["lr"] == pytest.approx(5e-4)  # half the batch, half the rate
    assert heads["lr"] == pytest.approx(5e-3)


@pytest.mark.parametrize(
    ("option", "value"),
    [("lr", 0), ("head_lr_factor", -1), ("weight_decay", -0.1), ("warmup_steps", -1), ("lr_batch_size", 0)],
)
def test_refuses_bad_settings(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"optim.{option}={value}"):
        OptimConfig(**{option: value})  # type: ignore[arg-type]
