"""Learning rates that fall by steps: at which step, by how much, and for which batch."""

import pytest
from torch import nn

from rtseg.errors import UserError
from rtseg.tasks.instances import optim as instances
from rtseg.tasks.stereo import optim as stereo


def test_the_first_papers_schedule_for_instances() -> None:
    config, steps = instances.InstanceOptim(), 24 * 100
    factors = {step: config.factor(step, steps) for step in (0, 250, 500, 1699, 1700, 1999, 2000, 2399)}
    expected = {0: 0.001, 250: 0.5005, 500: 1, 1699: 1, 1700: 0.1, 1999: 0.1, 2000: 0.01, 2399: 0.01}
    assert factors == pytest.approx(expected)
    optimizer, schedule = instances.create_optimizer(nn.Linear(2, 2), config, total_steps=steps, batch_size=64)
    assert [group["initial_lr"] for group in optimizer.param_groups] == pytest.approx([0.008, 0.008])
    assert schedule.get_last_lr() == pytest.approx([8e-6, 8e-6])


def test_a_drop_comes_with_its_share_of_the_steps() -> None:
    config = stereo.StereoOptim(drops=(0.67,))
    assert [config.factor(step, 1500) for step in (0, 1004, 1005)] == pytest.approx([1, 1, 0.1])  # 0.67 * 1500 > 1005
    optimizer, _ = stereo.create_optimizer(nn.Linear(2, 2), config, total_steps=9, batch_size=24)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3)  # the first paper's
    with pytest.raises(UserError, match="shares of the training"):
        stereo.StereoOptim(drops=(67,))
