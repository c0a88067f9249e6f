"""Every check lets good values pass and refuses the others with the value, the good ones and the repair."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rtseg.checks import (
    check_above,
    check_at_least,
    check_below,
    check_between,
    check_divides,
    check_finite,
    check_fraction,
    check_multiple,
    check_one_of,
    check_whole,
)
from rtseg.errors import UserError

NUMBERS = [
    (check_at_least, (1,), [1, 1.5, 1e300, np.int64(3)], [0, 0.99, -math.inf, math.inf], "at least 1"),
    (check_above, (0,), [1e-9, 1e300], [0, -1, math.inf], "above 0"),
    (check_between, (0, 1), [0, 0.5, 1, np.float32(0.25)], [-1e-9, 1.01, math.inf], "from 0 to 1"),
    (check_below, (0, 1), [0, 0.999], [1, -0.1], "at least 0 and below 1"),
    (check_fraction, (), [1e-9, 1], [0, 1.01], "above 0 and at most 1"),
    (check_finite, (), [0, -1e300], [math.inf, -math.inf], "a finite number"),
    (check_whole, (2,), [2, 1000], [1, 2.0, np.float64(2)], "a whole number of at least 2"),
]
UNBOUNDED = ("at least 1", "above 0")


@pytest.mark.parametrize(("check", "bounds", "good", "bad", "words"), NUMBERS)
def test_numbers(check: Callable[..., None], bounds: tuple, good: list[Any], bad: list[Any], words: str) -> None:
    for value in good:
        check("optim.lr", value, *bounds)
    for value in [*bad, math.nan, "1", None, True]:
        with pytest.raises(UserError) as error:
            check("optim.lr", value, *bounds, repair="write 1")
        finite = " and finite" * (isinstance(value, float) and not math.isfinite(value) and words in UNBOUNDED)
        assert str(error.value) == f"optim.lr={value!r} must be {words}{finite}; write 1"


def test_an_option_of_the_command_line_is_named_as_it_is_written() -> None:
    with pytest.raises(UserError, match=r"^--epochs 0 must be at least 1$"):
        check_at_least("--epochs", 0, 1)


@pytest.mark.parametrize(
    ("value", "near"), [(1000, "999 or 1002"), (2, "3"), (0, "3"), (-3, "3")]
)  # fmt: skip
def test_a_multiple_comes_with_the_nearest(value: int, near: str) -> None:
    check_multiple("batch", 999, 3)
    with pytest.raises(UserError, match=f"^batch={value} must be a multiple of 3, such as {near}; so it is$"):
        check_multiple("batch", value, 3, "so it is")


@pytest.mark.parametrize("parts", [0, -2, 5, 24])
def test_parts_that_do_not_divide_come_with_those_that_do(parts: int) -> None:
    check_divides("heads", 4, 12)
    with pytest.raises(UserError) as error:
        check_divides("heads", parts, 12)
    assert str(error.value) == f"heads={parts} does not divide 12 channels; choose one of [1, 2, 3, 4, 6, 12]"


@pytest.mark.parametrize("value", ["rows", None, 3, ["grid"]])
def test_a_wrong_choice_comes_with_the_right_ones(value: Any) -> None:
    check_one_of("placement", "grid", ("grid", "segment"))
    with pytest.raises(UserError) as error:
        check_one_of("placement", value, ("grid", "segment"))
    assert str(error.value).startswith(f"placement={value} is unknown.")
    assert str(error.value).endswith(" Known: grid, segment.")
