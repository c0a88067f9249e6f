import pytest

from rtseg.errors import UserError
from rtseg.training.callbacks.periodic_checkpoint import PeriodicCheckpoint, parse_time


def test_times() -> None:
    assert [parse_time(text) for text in ("90s", "10min", "1.5 h")] == [90, 600, 5400]


@pytest.mark.parametrize("every", ["10", "10m", "-1s", "1.2.3s", ".s", "0s", "", 0, -5])
def test_what_is_no_interval(every: int | str) -> None:
    with pytest.raises(UserError, match="--save_every"):
        PeriodicCheckpoint("last.ckpt", every)
