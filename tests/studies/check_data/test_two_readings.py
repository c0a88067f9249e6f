"""Masks that can be read in two ways: one number more than classes, or 255 for a class. None is moved unseen."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from rtseg.data.dataset import LabelSpace, default_palette
from rtseg.data.findings.finding import CAUTION, FAULT, Finding, Severity
from rtseg.data.findings.looks import MaskLook, Seen, Split
from rtseg.data.findings.numbers import unknown_values, white_is_a_class
from tests.helpers.planted import Planted
from tests.studies.check_data.test_command import run


def seen_in(names: list[str], *masks: dict[int, int]) -> Seen:
    """Masks that hold numbers -> their pixels, where classes are 0..K-1."""
    looks = [MaskLook(size=(100, 100), values=levels, distinct=len(levels)) for levels in masks]
    pairs = [(Path(f"images/{k}.png"), Path(f"masks/{k}.png")) for k in range(len(looks))]
    split = Split("train", pairs, [], looks, len(looks))
    labels = LabelSpace(tuple(names), default_palette(len(names)), tuple(range(len(names))))
    return Seen(Path(), [split], labels, {**{k: k for k in range(len(names))}, 255: 255})


def found(names: list[str], levels: dict[int, int], others: int = 0) -> Finding:
    """The finding of one mask that holds `levels`, beside `others` without a fault."""
    (one,) = unknown_values(seen_in(names, levels, *[{0: 10_000}] * others))
    return one


@pytest.mark.parametrize(
    ("names", "levels", "repair", "says"),
    [
        (
            ["background", "cat"],
            {0: 6000, 1: 2000, 2: 2000},
            {"classes": ["background", "cat", "class_2"]},
            "for 2, and",
        ),
        (["a", "class_2"], {0: 6000, 1: 2000, 2: 2000}, {"classes": ["a", "class_2", "class_2_"]}, "one number more"),
        (["dog", "cat"], {0: 10, 1: 5000, 2: 4990}, {}, "0 has 0.1 % of the pixels: if it is no class, write"),
        (["dog", "cat"], {0: 5000, 2: 5000}, {}, "or if the numbers are spread, write `label_map: {0: dog, 2: cat}`"),
        (["dog", "cat"], {1: 5000, 2: 5000}, {"label_map": {1: "dog", 2: "cat"}}, "the masks count from 1"),
        (["Background"], {0: 5000, 1: 5000}, {"classes": ["Background", "class_1"]}, "one number more"),
    ],
)
def test_repairs(names: list[str], levels: dict[int, int], repair: dict, says: str) -> None:
    one = found(names, levels)
    assert (one.kind, one.yaml) == ("off-by-one", repair)
    assert says in one.text


def test_a_slip_in_few_masks_is_no_class() -> None:
    one = found(["dog", "cat"], {0: 5000, 1: 4000, 2: 1000}, others=20)
    assert (one.kind, one.yaml) == ("outside", {})


def test_the_yaml_to_use_keeps_the_classes_where_they_are(tmp_path: Path) -> None:
    data = Planted(tmp_path / "my")
    data.yaml |= {"classes": ["background", "cat"], "palette": ["#000000", "#ff0000"]}
    data.write()
    data.masks(lambda drawn: np.where(drawn == 255, 0, drawn).astype(np.uint8))
    assert run(data.root, "--yaml", data.root / "new.yaml") == 1
    written = yaml.safe_load((data.root / "new.yaml").read_text())
    assert written["classes"] == ["background", "cat", "class_2"]
    assert not {"label_map", "palette"} & written.keys()
    assert run(data.root / "new.yaml") == 0


@pytest.mark.parametrize(
    ("names", "masks", "severity", "repair"),
    [
        (["sky", "cat"], [{0: 9000, 255: 1000}], FAULT, {"label_map": {0: "sky", 255: "cat"}}),
        (["sky", "cat"], [{0: 9000, 255: 1000}, {0: 10_000}], FAULT, {"label_map": {0: "sky", 255: "cat"}}),
        (["sky", "cat"], [{0: 9000, 255: 1000}, {0: 9999, 7: 1}], CAUTION, {}),
        (["sky", "cat"], [{1: 9000, 255: 1000}], CAUTION, {}),
        (["sky", "cat"], [{0: 9000, 255: 1000}, {0: 5000, 1: 5000}], FAULT, {}),
        (["sky", "cat", "dog"], [{0: 5000, 1: 4000, 255: 1000}], CAUTION, {}),
        (["sky", "cat", "dog"], [{1: 5000, 2: 4000, 255: 1000}], CAUTION, {}),
    ],
)
def test_255_becomes_a_class_only_where_it_can_be_nothing_else(
    names: list[str], masks: list[dict[int, int]], severity: Severity, repair: dict
) -> None:
    (one,) = white_is_a_class(seen_in(names, *masks))
    assert (one.severity, one.yaml) == (severity, repair)
    assert "write `label_map: {" in one.text, "what to do is said in any case"


@pytest.mark.parametrize("masks", [[{0: 5000, 1: 4000, 255: 1000}], [{0: 10_000}], [{255: 10_000}]])
def test_255_that_is_ignored_is_not_told(masks: list[dict[int, int]]) -> None:
    assert list(white_is_a_class(seen_in(["sky", "cat"], *masks))) == []
