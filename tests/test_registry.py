"""Names and the errors of wrong ones."""

from functools import partial
from typing import Any

import pytest

from rtseg import plugins
from rtseg.attention import register_attention
from rtseg.data.camvid import LABELS
from rtseg.data.dataset import register_dataset
from rtseg.deploy.engines import register_engine
from rtseg.errors import UserError
from rtseg.models.backbone import register_backbone
from rtseg.models.heads import register_head
from rtseg.registry import Registry, UnknownNameError, suggest
from rtseg.speed.rivals import register_rival
from rtseg.training.losses import register_loss


@pytest.fixture
def shapes() -> Registry[int]:
    registry: Registry[int] = Registry("shape")
    registry.register("triangle")(3)
    registry.register("square")(4)
    return registry


def test_what_is_registered_is_found_and_listed_in_order(shapes: Registry[int]) -> None:
    assert shapes.get("square") == 4
    assert shapes.names() == ["square", "triangle"]


def test_entries_keep_the_order_of_registration_and_count_as_not_used(
    shapes: Registry[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "note", lambda plugin: pytest.fail("it was noted"))
    found = shapes.entries()
    assert list(found.items()) == [("triangle", 3), ("square", 4)]
    found.clear()
    assert len(shapes.entries()) == 2


def test_the_decorator_returns_what_it_files() -> None:
    registry: Registry[type] = Registry("class")

    @registry.register("a")
    class A:
        pass

    assert registry.get("a") is A


@pytest.mark.parametrize("name", ["sqare", "Square", "SQUARE"])
def test_a_wrong_name_meets_the_nearest_right_one(name: str, shapes: Registry[int]) -> None:
    with pytest.raises(UnknownNameError, match=rf"shape '{name}'. Did you mean 'square'\? Known: square, triangle."):
        shapes.get(name)


@pytest.mark.parametrize("name", ["", "xyz", None, 3, ["square"]])
def test_a_name_like_no_other_meets_the_list(name: str, shapes: Registry[int]) -> None:
    with pytest.raises(UserError, match=r"unknown shape '.*'. Known: square, triangle."):
        shapes.get(name)


def test_a_name_that_begins_so_is_nearer_than_one_that_looks_like_it() -> None:
    known = ["mnn", "onnxruntime-plain", "onnxruntime", "openvino"]
    assert suggest("onnx", known).startswith(" Did you mean 'onnxruntime'?")
    assert suggest("nmn", known).startswith(" Did you mean 'mnn'?")


def test_two_things_cannot_have_one_name(shapes: Registry[int]) -> None:
    with pytest.raises(ValueError, match="shape 'square' is registered already"):
        shapes.register("square")(5)


def test_an_empty_registry_says_so() -> None:
    assert suggest("anything", []) == " Known: none."


@pytest.mark.parametrize("name", ["", "a+b", "a:b", "a b", "a/b", 3, type])
def test_names_that_cannot_be_written(shapes: Registry[int], name: Any) -> None:
    """A class where the name is left out, as in `@register_head` without brackets."""
    with pytest.raises(UserError, match="register it under a name of letters, digits"):
        shapes.register(name)
    assert len(shapes.names()) == 2


@pytest.mark.parametrize(
    "register",
    [
        register_attention, register_backbone, register_head, register_loss, register_engine, register_rival,
        partial(register_dataset, labels=LABELS),
    ],
)  # fmt: skip
def test_a_decorator_without_its_name(register: Any) -> None:
    with pytest.raises(UserError, match=r"<class 'type'>: register it under a name .*, as in `@register_\.\.\.\(\"my_"):
        register(type)
