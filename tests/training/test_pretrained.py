"""Starting from the weights of a backbone; from those of a segmenter: test_module.py."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.attention import list_attentions
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model, list_models
from rtseg.models.backbone import choose_attention, create_backbone
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.model_card import ModelCard
from rtseg.training.module import SegmentationModule
from rtseg.training.pretrained import load_pretrained
from tests.helpers.segmenters import narrow

INJECTION = "backbone.block5.high_to_low."
LOW = [name for name in list_attentions() if name != "ca"]
HIGH = list_attentions()


def write_backbone(
    folder: Path, name: str = "rtformer_slim", attention: str | None = None, *, value: int = 3, **options: Any
) -> tuple[str, dict[str, Tensor]]:
    """A folder with a backbone of 8 channels whose entries are all `value`, as no fresh one's are."""
    options = {"base_channels": 8, **options}
    backbone = create_backbone(name, attention=attention, **options)
    state = {f"backbone.{key}": torch.full_like(entry, value) for key, entry in backbone.state_dict().items()}
    card = ModelCard(name, choose_attention(name, attention), 10, options, part="backbone", source="a test")
    save_backbone(folder, card, state)
    return str(folder), state


def small(name: str = "rtformer_slim", attention: str | None = None, **options: Any) -> Segmenter:
    return create_model(name, 5, attention=attention, **narrow(name, **options))


def load(segmenter: Segmenter, source: str, state: Mapping[str, Tensor]) -> tuple[list[str], set[str]]:
    """The lines, and which entries of the weights are not in the segmenter afterwards; its others are as before."""
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    lines = load_pretrained(segmenter, source)
    after = segmenter.state_dict()
    loaded = {key for key, value in after.items() if key in state and torch.equal(value, state[key])}
    assert all(torch.equal(after[key], before[key]) for key in after.keys() - loaded)
    assert all(not key.startswith("backbone.") for key in before.keys() - loaded - _named(lines))
    return lines, state.keys() - loaded


def _named(lines: list[str]) -> set[str]:
    """The entries that the lines name, each of which says their number."""
    named: set[str] = set()
    for line in lines:
        number, entries, _ = line.partition(" entries ")
        if entries and number.isdigit():
            keys = line.partition(": ")[2].removesuffix(".").split(", ")
            assert len(set(keys)) == int(number)
            named.update(keys)
    return named


@pytest.mark.parametrize("name", list_models())
def test_a_backbone_is_loaded_whole_under_fresh_heads(name: str, tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", name)
    segmenter = small(name)
    lines, absent = load(segmenter, source, state)
    assert not absent
    assert lines == [
        f"Weights of a backbone from {source}: {len(state)} of {len(state)} entries; the heads are initialised."
    ]


def test_a_training_starts_from_it(tmp_path: Path, tiny_model: dict[str, Any]) -> None:
    source, state = write_backbone(tmp_path / "net")
    own = SegmentationModule(num_classes=4, **tiny_model, weights=source).segmenter.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items())


def test_the_heads_are_those_of_a_fresh_network(tmp_path: Path) -> None:
    source, _ = write_backbone(tmp_path / "net")
    torch.manual_seed(3)
    expected = small().state_dict()
    torch.manual_seed(3)
    segmenter = small()
    load_pretrained(segmenter, source)
    heads = {key: value for key, value in segmenter.state_dict().items() if not key.startswith("backbone.")}
    assert len(heads) > 20
    assert all(torch.equal(value, expected[key]) for key, value in heads.items())


def attention_keys(theirs: str, ours: str) -> tuple[str, ...]:
    """Prefixes of the entries of the branches in which two choices name different mechanisms."""
    branches = zip(("low", "high"), theirs.split("+"), ours.split("+"), strict=True)
    unlike = [branch for branch, one, other in branches if one != other]
    return tuple(f"backbone.block{block}.{branch}_attention." for branch in unlike for block in (4, 5))


@pytest.mark.slow
def test_of_another_attention_only_that_starts_fresh(tmp_path: Path) -> None:
    """Every mechanism into every other, in each branch; the second list is shifted, so that pairs differ in both
    branches, in one or in the other.
    """
    sources = [f"{LOW[k % len(LOW)]}+{name}" for k, name in enumerate(HIGH)]
    targets = [f"{LOW[k % len(LOW)]}+{HIGH[k - 1]}" for k in range(len(HIGH))]
    models = {attention: small(attention=attention) for attention in targets}
    seen = set()
    for k, theirs in enumerate(sources):
        source, state = write_backbone(tmp_path / theirs, attention=theirs, value=k + 3)
        for ours, segmenter in models.items():
            lines, absent = load(segmenter, source, state)
            unlike = attention_keys(theirs, ours)
            expected = {key for key in state if key.startswith(unlike)}
            assert absent == expected, (theirs, ours)
            assert _named(lines) == expected | {key for key in segmenter.state_dict() if key.startswith(unlike)}
            told = f"They were trained with attention '{theirs}'; this model has '{ours}'." in lines
            assert told == bool(unlike)
            seen |= set(zip(("low", "high"), theirs.split("+"), ours.split("+"), strict=True))
    assert seen == {("low", *pair) for pair in product(LOW, LOW)} | {("high", *pair) for pair in product(HIGH, HIGH)}


def test_the_branch_that_is_equal_is_loaded(tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", attention="gfa+ca")
    _, absent = load(small(attention="gfa+gfa"), source, state)
    assert absent == {key for key in state if ".high_attention." in key} != set()


def test_options_of_an_attention_skip_only_what_has_another_shape(tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", attention="sa:reduction=2")
    lines, absent = load(small(attention="sa:reduction=1"), source, state)
    assert absent == {key for key in state if "attention.reduce" in key} != set()
    assert "They were trained with attention 'sa:reduction=2'; this model has 'sa:reduction=1'." in lines
    lines, absent = load(small(attention="sa:reduction=2:heads=2"), source, state)
    assert not absent
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("rtformer_slim", {"drop_path": 0.0}, {"drop_path": 0.2}),
        ("rtformer_slim", {"cross_size": 4}, {"cross_size": 12}),
        ("ddrnet_23_slim", {"low_stride": 32}, {"low_stride": 64}),
    ],
)
def test_options_that_change_no_shape_are_told(name: str, theirs: dict, ours: dict, tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", name, **theirs)
    lines, absent = load(small(name, head_channels=8, **ours), source, state)
    assert not absent
    assert lines[1:] == [f"They were trained with options {theirs}; this model has {ours}."]


def test_the_last_injection_may_be_missing_or_surplus(tmp_path: Path) -> None:
    both, state = write_backbone(tmp_path / "both", injection=[True, True])
    lines, absent = load(small(), both, state)
    assert absent == {key for key in state if key.startswith(INJECTION)}
    assert lines[-1].startswith(f"{len(absent)} entries of the weights are left out: {INJECTION}")
    first, state = write_backbone(tmp_path / "first", injection=[True, False])
    segmenter = small(injection=[True, True])
    lines, absent = load(segmenter, first, state)
    assert not absent
    fresh = [key for key in segmenter.state_dict() if key.startswith(INJECTION)]
    assert lines[-1] == f"{len(fresh)} entries are initialised: {', '.join(fresh)}."


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (
            {"base_channels": 16},
            {},
            r"of another shape .*options {'base_channels': 16}, this model has {'base_channels'",
        ),
        (
            {"injection": [False, True]},
            {"injection": [True, True]},
            "12 missing .backbone.block4.high_to_low.*injection",
        ),
        (
            {"injection": [True, True]},
            {"injection": [False, True]},
            "12 unknown .backbone.block4.high_to_low.*injection",
        ),
    ],
)
def test_everything_else_must_fit(theirs: dict, ours: dict, message: str, tmp_path: Path) -> None:
    source, _ = write_backbone(tmp_path / "net", **theirs)
    segmenter = small(attention="sa", **ours)
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    with pytest.raises(UserError, match=message) as error:
        load_pretrained(segmenter, source)
    assert f"model.weights={source}" in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in segmenter.state_dict().items())


def test_every_entry_of_other_widths_is_counted_but_those_of_the_attention(tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", base_channels=16, injection=[True, True])
    segmenter = small(injection=[True, True])
    shapes = {key: value.shape for key, value in segmenter.state_dict().items() if key in state}
    unfit = [key for key in shapes if "_attention." not in key and shapes[key] != state[key].shape]
    assert any(key.startswith(INJECTION) for key in unfit)
    with pytest.raises(UserError, match=rf"model: {len(unfit)} of another shape \("):
        load_pretrained(segmenter, source)


def test_another_model_is_refused_with_its_name(tmp_path: Path) -> None:
    source, _ = write_backbone(tmp_path / "net", "ddrnet_23_slim")
    with pytest.raises(UserError, match=r"is of 'ddrnet_23_slim'.*set model\.name=ddrnet_23_slim"):
        load_pretrained(small(), source)


@pytest.mark.parametrize("lost", ["stem.0.weight", "block4.low_attention.keys.weight", "block5.high_to_low.0.0.bias"])
def test_entries_lost_from_the_file_are_no_other_attention(lost: str, tmp_path: Path) -> None:
    source, state = write_backbone(tmp_path / "net", injection=[True, True])
    card = ModelCard("rtformer_slim", "gfa+ca", 10, {"base_channels": 8, "injection": [True, True]}, part="backbone")
    save_backbone(tmp_path / "net", card, {key: value for key, value in state.items() if key != f"backbone.{lost}"})
    with pytest.raises(UserError, match=rf"not those that its card describes: 1 missing \(backbone\.{lost}\)"):
        load_pretrained(small(injection=[True, True]), source)


def test_a_checkpoint_of_pre_training_must_be_exported_first(tmp_path: Path) -> None:
    card = ModelCard("rtformer_slim", "gfa+ca", 10, part="classifier")
    file = tmp_path / "last.ckpt"
    torch.save({"model_card": card.to_dict(), "state_dict": {}}, file)
    with pytest.raises(UserError, match=rf"classifier in pre-training.*python -m pretrain export {file} -o FOLDER"):
        load_pretrained(small(), str(file))
