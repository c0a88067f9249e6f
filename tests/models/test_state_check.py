"""Weights whose names and shapes fit, and that cannot be used all the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone_folder import described_backbone
from rtseg.models.segmenter import Segmenter
from rtseg.training.pretrained import load_pretrained
from tests.helpers.networks import tiny_segmenter

WEIGHT, VARIANCE = "backbone.stem.0.weight", "backbone.stem.1.running_var"
NETWORK = tiny_segmenter()


def with_value(value: Tensor, number: float) -> Tensor:
    changed = value.clone()
    changed.view(-1)[-1] = number
    return changed


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        (WEIGHT, lambda w: with_value(w, float("nan")), "1 hold NaN or infinity"),
        (WEIGHT, lambda w: with_value(w, float("-inf")), "1 hold NaN or infinity"),
        (WEIGHT, lambda w: with_value(w.double(), 1e300), "1 hold NaN or infinity"),
        (VARIANCE, lambda w: with_value(w, -1e-3), "1 are variances below 0"),
        (WEIGHT, lambda w: w.to(torch.int8), "1 are of int8, not float32"),
        (WEIGHT, lambda w: w > 0, "1 are of bool, not float32"),
        (WEIGHT, lambda w: w.to(torch.complex64), "1 are of complex64, not float32"),
        ("backbone.stem.1.num_batches_tracked", lambda w: w.float(), "1 are of float32, not int64"),
        (WEIGHT, lambda w: w.tolist(), "1 are not tensors but of type list"),
        (WEIGHT, lambda w: "text", "1 are not tensors but of type str"),
        (WEIGHT, lambda w: w.to_sparse(), "1 are not plain dense tensors"),
        (WEIGHT, lambda w: w.to("meta"), "1 are not plain dense tensors"),
        (WEIGHT, lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "1 are not plain dense tensors"),
        (WEIGHT, lambda w: torch.zeros(1).expand(10**9), "1 are not plain dense tensors"),
        (WEIGHT, lambda w: torch.nested.nested_tensor([w[0], w[1]]), "1 are not plain dense tensors"),
    ],
)
def test_values_that_cannot_be_used_are_refused(key: str, change: Any, told: str) -> None:
    state = dict(NETWORK.state_dict())
    state[key] = change(state[key])
    with pytest.raises(UserError) as error:
        Segmenter.from_weights(NETWORK.card, state, source="'x'")
    assert f"the weights in 'x' cannot be used: of {len(state)} entries {told} ({key})." in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_another_precision_are_converted(dtype: torch.dtype) -> None:
    state = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in NETWORK.state_dict().items()
    }
    back = Segmenter.from_weights(NETWORK.card, state, source="'x'").state_dict()
    assert all(torch.equal(value, state[key].to(value.dtype)) for key, value in back.items())


def test_every_way_to_a_network_refuses_nan(tmp_path: Path) -> None:
    network = tiny_segmenter()
    with torch.no_grad():
        for value in network.backbone.parameters():
            value.fill_(float("nan"))
    backbone = {key: value for key, value in network.state_dict().items() if key.startswith("backbone.")}
    card = replace(network.card, part="backbone", options={"base_channels": 8, "cross_size": 3})
    network.save_pretrained(tmp_path / "net")
    told = rf"weights in '{tmp_path}/net' cannot be used: of \d+ entries \d+ hold NaN"
    ways = {
        "load": lambda: Segmenter.from_pretrained(tmp_path / "net"),
        "train from": lambda: load_pretrained(tiny_segmenter(), str(tmp_path / "net")),
        "export or train from": lambda: described_backbone(card, backbone, tmp_path / "net"),
    }
    for way in ways.values():
        with pytest.raises(UserError, match=told):
            way()


def test_a_state_dict_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="'x' holds a list in place of weights by name"):
        tiny_segmenter().load_weights([1], source="'x'")  # type: ignore[arg-type]
