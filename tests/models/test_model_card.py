"""The card that travels with weights."""

import json
from typing import Any

import pytest

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

FULL = ModelCard(
    "rtformer_slim", "gfa+ca", 2, {"injection": (True, False), "cross_size": 8},
    class_names=("road", "sky"), palette=((128, 64, 128), (70, 130, 180)), ids=(7, 23), ignore_index=255,
    mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), input_size=(512, 1024), dataset="cityscapes", source="a run",
    license="CC0-1.0", miou=61.5,
)  # fmt: skip


@pytest.mark.parametrize(
    "card", [FULL, ModelCard("rtformer_base", "sa", 19), ModelCard("resnet18", "none", 1000, part="classifier")]
)
def test_a_card_survives_json(card: ModelCard) -> None:
    text = json.dumps(card.to_dict(), allow_nan=False)
    assert ModelCard.from_dict(json.loads(text)) == card
    assert json.loads(text) == card.to_dict()


def test_a_card_from_before_pre_training_is_a_segmenter_s() -> None:
    old = {key: value for key, value in FULL.to_dict().items() if key != "part"}
    assert ModelCard.from_dict(old) == FULL
    assert FULL.part == "segmenter"


def test_lists_are_as_good_as_tuples() -> None:
    card = ModelCard("m", "a", 2, {"injection": [True, False]}, palette=[[1, 2, 3], [4, 5, 6]], ids=[1, 2])  # type: ignore[arg-type]
    assert card == ModelCard("m", "a", 2, {"injection": (True, False)}, palette=((1, 2, 3), (4, 5, 6)), ids=(1, 2))


def test_a_card_does_not_change_with_the_dictionary_it_was_made_from() -> None:
    options = {"cross_size": 8}
    card = ModelCard("m", "a", 2, options)
    options["cross_size"] = 12
    assert card.options == {"cross_size": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clas_names": []}, r"unknown key 'clas_names'. Did you mean 'class_names'\?"),
        ({"num_classes": 3}, "2 entries in 'class_names' for num_classes=3; give one a class"),
        ({"palette": [[0, 0, 0]]}, "1 entries in 'palette' for num_classes=2"),
        ({"ids": [1, 2, 3]}, "3 entries in 'ids' for num_classes=2"),
        ({"miou": 101}, "miou=101 must be a number of per cent, from 0 to 100"),
        ({"miou": float("nan")}, "miou=nan must be a number of per cent"),
        ({"license": 3}, "license=3 must be a name"),
        ({"num_classes": 0}, "num_classes=0 must be a whole number of at least 1"),
        ({"num_classes": "19"}, "num_classes='19' must be a whole number"),
        ({"num_classes": True}, "num_classes=True must be a whole number"),
        ({"num_classes": 19.0}, "num_classes=19.0 must be a whole number"),
        ({"model": None}, "model=None must be a name"),
        ({"attention": 3}, "attention=3 must be a text such as 'gfa[+]ca'"),
        ({"options": [1]}, r"options=\(1,\) must be options by name"),
        ({"class_names": "ab"}, "class_names='ab' must be a list of names"),
        ({"class_names": ["road", 3]}, "must be a list of names"),
        ({"palette": [[0, 0], [0, 0]]}, r"must be a list of \[red, green, blue\], each 0..255"),
        ({"palette": [[0, 0, 256], [0, 0, 0]]}, r"must be a list of \[red, green, blue\], each 0..255"),
        ({"palette": [[0, 0, 0.5], [0, 0, 0]]}, r"must be a list of \[red, green, blue\]"),
        ({"ids": ["7", "8"]}, "must be a list of whole numbers"),
        ({"ignore_index": None}, "ignore_index=None must be a whole number"),
        ({"mean": [0.5]}, "must be three numbers"),
        ({"std": [0.2, 0.2, 0]}, "must be three numbers above 0"),
        ({"input_size": 512}, r"input_size=512 must be \[height, width\]"),
        ({"input_size": [512, 0]}, r"must be \[height, width\]"),
        ({"part": "head"}, "part='head' must be one of segmenter, backbone, classifier"),
        ({"part": ["backbone"]}, "must be one of segmenter"),
        ({"num_classes": 10**9}, "num_classes=1000000000 must be a whole number of at least 1, at most 65535"),
        ({"num_classes": 10**5000}, "num_classes=a number of thousands of digits must be"),
        ({"ids": [7, -1]}, r"ids=\(7, -1\) must be a list of whole numbers from 0 to 65535"),
        ({"ids": [7, 70000]}, "from 0 to 65535, each one once: label files hold 16 bits"),
        ({"ids": [7, 7]}, "each one once"),
        ({"std": [1e-320, 1, 1]}, "must be three numbers above 0, from 1e-6 to 1000"),
        ({"std": [float("nan"), 1, 1]}, "must be three numbers above 0"),
        ({"std": [True, 1, 1]}, "must be three numbers above 0"),
        ({"mean": [1e308, 0, 0]}, "must be three numbers from -1000 to 1000"),
        ({"eval_resize": [512, 10**9]}, r"must be \[short side, long side\] of whole numbers from 1 to 8192"),
        ({"class_names": ["road", "\x1b[31m"]}, "without control characters"),
        ({"class_names": ["road", "\ud800"]}, "without control characters"),
        ({"class_names": ["road", "a" * 10**6]}, "a list of names, of at most 500 characters.*"),
        ({"attention": "(" * 10000}, "must be a text such as"),
        ({"head": "a\nb"}, r"head='a\\nb' must be a name"),
        ({"dataset": 3}, "dataset=3 must be a name"),
        ({"options": {"cross_size": object()}}, "must be options by name"),
        ({"options": {"a": [[[[[[[[[1]]]]]]]]]}}, "nested too deeply, or holds more than a million entries"),
        ({"\x1b[31m": 1}, r"unknown key '\\x1b\[31m'"),
    ],
)
def test_a_wrong_entry_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        ModelCard.from_dict({**FULL.to_dict(), **changes})
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("content", [[], "text", None, 3])
def test_what_is_no_dictionary_is_refused(content: Any) -> None:
    with pytest.raises(UserError, match="is not a card; is this file written by rtseg"):
        ModelCard.from_dict(content)


def test_missing_entries_are_named() -> None:
    with pytest.raises(UserError, match="model card: attention, num_classes missing"):
        ModelCard.from_dict({"model": "rtformer_slim"})
