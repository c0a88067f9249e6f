"""Table 1 of RTFormer's appendix, read off the optimizer and its schedule."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pretrain.optim import OptimConfig, create_optimizer
from rtseg.errors import UserError

EPOCH = 1_281_167 // 1024  # steps
TOTAL = 300 * EPOCH


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))


def rates(config: OptimConfig, batch_size: int, steps: list[int]) -> list[float]:
    """What the scheduler sets, at steps far apart."""
    optimizer, schedule = create_optimizer(
        network(), config, total_steps=TOTAL, steps_per_epoch=EPOCH, batch_size=batch_size
    )
    return [optimizer.defaults["lr"] * schedule.lr_lambdas[0](step) for step in steps]


def test_the_rates_of_table_1() -> None:
    """At the start, half-way up, at the peak, half-way down, at the end of 300 epochs."""
    middle = 5 * EPOCH + (TOTAL - 5 * EPOCH) // 2
    found = rates(OptimConfig(), 1024, [0, 5 * EPOCH // 2, 5 * EPOCH, middle, TOTAL])
    half_up, half_down = (5e-7 + 5e-4) / 2, (5e-6 + 5e-4) / 2
    assert found == pytest.approx([5e-7, half_up, 5e-4, half_down, 5e-6], rel=1e-3)
    assert found[0] == pytest.approx(5e-7, rel=1e-9)
    assert found[-1] == pytest.approx(5e-6, rel=1e-9)


def test_swins_reading_has_twice_the_rates() -> None:
    steps = [0, 100, 5 * EPOCH, TOTAL // 2, TOTAL]
    assert rates(OptimConfig(lr_batch_size=512), 1024, steps) == pytest.approx(
        [2 * rate for rate in rates(OptimConfig(), 1024, steps)], rel=1e-9
    )
    assert rates(OptimConfig(lr_batch_size=None), 64, steps) == pytest.approx(rates(OptimConfig(), 1024, steps))
    assert rates(OptimConfig(), 256, steps) == pytest.approx([rate / 4 for rate in rates(OptimConfig(), 1024, steps)])


@given(st.integers(0, TOTAL - 1))
def test_up_then_down(step: int) -> None:
    before, after = rates(OptimConfig(), 1024, [step, step + 1])
    assert after > before if step < 5 * EPOCH else after < before


@pytest.mark.parametrize(("everything", "vector_decay"), [(False, 0.0), (True, 0.04)])
def test_one_step_of_adamw(everything: bool, vector_decay: float) -> None:
    """By hand: decay times rate off each weight, then one rate against the sign of its gradient."""
    net = network()
    optimizer, _ = create_optimizer(
        net, OptimConfig(decay_norms_and_biases=everything), total_steps=TOTAL, steps_per_epoch=EPOCH, batch_size=1024
    )
    weights, vectors = optimizer.param_groups
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.999)] * 2
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.04, vector_decay)
    assert weights["lr"] == vectors["lr"] == pytest.approx(5e-7)  # the first step of the warm-up
    assert len(weights["params"]) == 2
    assert len(vectors["params"]) == 4  # two biases, scale and shift
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.randn(8, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    for p, old in zip(net.parameters(), before, strict=True):
        assert p.grad is not None
        decay = 0.04 if p.ndim > 1 else vector_decay
        expected = old * (1 - 5e-7 * decay) - 5e-7 * p.grad / (p.grad.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lr": 0.0}, "optim.lr=0.0 must be above 0"),
        ({"lr": float("nan")}, "optim.lr=nan must be above 0 and finite"),
        ({"weight_decay": -1.0}, "optim.weight_decay=-1.0 must be at least 0"),
        ({"min_lr": 1e-2}, "optim.min_lr=0.01 must be from 0 to 0.0005; optim.lr is the highest rate"),
        ({"betas": (0.9, 1.0)}, "below 1"),
        ({"lr_batch_size": 0}, "optim.lr_batch_size=0 must be at least 1; null never scales"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        OptimConfig(**settings)


def test_a_warmup_as_long_as_the_training_is_refused() -> None:
    with pytest.raises(UserError, match="warmup_epochs=5 is 50 steps, the whole training 40"):
        create_optimizer(network(), OptimConfig(), total_steps=40, steps_per_epoch=10)
