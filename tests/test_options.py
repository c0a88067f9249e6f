"""Options read from constructors, and the words of bad ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import pytest

from rtseg.errors import UserError
from rtseg.options import Option, Positive, check_options, check_reserved, read_options


def build(
    size: int,
    *,
    width: Positive = 8,
    ratio: float = 0.5,
    kind: Literal["a", "b"] = "a",
    title: str | None = None,
    flags: tuple[bool, bool] = (True, False),
    sizes: Sequence[int] = (),
    bias: bool = False,
) -> None:
    pass


def test_options_are_the_parameters() -> None:
    options = read_options("it", build, leave_out=("size",))
    assert {name: option.default for name, option in options.items()} == {
        "width": 8, "ratio": 0.5, "kind": "a", "title": None, "flags": (True, False), "sizes": (), "bias": False,
    }  # fmt: skip
    assert read_options("it", partial(build, 3, width=16))["width"] == Option(Positive, 16)


@pytest.mark.parametrize(
    "good",
    [
        {"width": 1}, {"ratio": 2}, {"kind": "b"}, {"title": "x"}, {"title": None}, {"flags": [False, False]},
        {"sizes": [1, 2, 3]}, {"sizes": ()}, {"bias": True},
    ],
)  # fmt: skip
def test_good_values(good: dict[str, Any]) -> None:
    check_options("it", good, read_options("it", build, leave_out=("size",)))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"width": 0}, "it: width=0 must be a whole number of at least 1 and at most 1048576, as the default 8"),
        ({"width": True}, "width=True must be a whole number of at least 1"),
        ({"ratio": "2"}, "ratio='2' must be a finite number, as the default 0.5"),
        ({"ratio": True}, "ratio=True must be a finite number"),
        ({"kind": "c"}, "kind='c' must be one of a, b, as the default a"),
        ({"title": 3}, "title=3 must be a text or null$"),
        ({"flags": [True]}, r"flags=\[True\] must be a list of 2 booleans, as the default \(True, False\)"),
        ({"flags": "TF"}, "flags='TF' must be a list of 2 booleans"),
        ({"sizes": [1, 0.5]}, r"sizes=\[1, 0.5\] must be a list of whole numbers"),
        ({"bias": 1}, "bias=1 must be true or false, as the default False"),
        ({"widht": 3}, r"it has no option 'widht'. Did you mean 'width'\? Known: bias, flags, kind"),
    ],
)
def test_bad_values(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_options("it", bad, read_options("it", build, leave_out=("size",)))


def no_default(width: int) -> None:
    pass


def no_type(width=3) -> None:  # type: ignore[no-untyped-def]
    pass


def no_type_of_an_option(layers: dict[str, int] | None = None) -> None:
    pass


def other_default(width: int = "8") -> None:  # type: ignore[assignment]
    pass


def of_create_model(head: str = "conv") -> None:
    pass


def without_names(**options: int) -> None:
    pass


@pytest.mark.parametrize(
    ("constructor", "says"),
    [
        (no_default, "it: write option 'width' with a type .* and a default, as in `channels: int = 64`"),
        (no_type, "write option 'width' with a type"),
        (no_type_of_an_option, "write option 'layers' with a type"),
        (other_default, "it: the default of width='8' must be a whole number"),
        (of_create_model, "it: option 'head' needs another name: `create_model` has a `head` of its own"),
        (without_names, r"it: \*\*options: int cannot be read as options; name each"),
    ],
)
def test_constructors_that_cannot_be_read(constructor: Callable[..., None], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_options("it", constructor)


def test_what_is_no_option() -> None:
    check_reserved({"width": 3})
    with pytest.raises(UserError, match=r"model.options.head=conv is not an option: give it as model.head"):
        check_reserved({"head": "conv"})
