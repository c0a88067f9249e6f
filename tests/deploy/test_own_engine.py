"""An engine of one's own, registered by public names alone, is found wherever engines are listed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.deploy.engines import FP32, Engine, GraphEngine, TorchEngine, by_name, list_backends, register_engine
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from tests.helpers.engines import CPU
from tests.helpers.networks import SHAPE
from tests.helpers.plugins import commands, write_plugins

QUICK = """
import sys
from rtseg.speed import timing

timing.warm_up = lambda run, seconds: 0
sys.modules |= {"openvino": None, "onnxruntime": None, "MNN": None}  # fewer rows to wait for
"""
TOY = """
from rtseg.deploy.engines import FP32, TorchEngine, by_name, register_engine

@register_engine("toy")
class Toy(TorchEngine):
    'Eager PyTorch under a name of its own.'
    precisions = by_name(FP32)
    libraries = {"torch": "rtseg", "numpy": "numpy"}
"""


@pytest.mark.slow
def test_a_toy_and_the_engine_of_the_docs_are_measured_and_listed(tmp_path: Path) -> None:
    """No engine is asked for: those that are there are measured, and stand in both listings and in the notes."""
    pytest.importorskip("onnxscript")
    write_plugins(tmp_path)
    plugin = ["--plugin", "my_engine.py"]
    small = ["--input-size", "32", "48", "--device", "cpu", "--seconds", "0.01", "--num-classes", "3"]
    said = commands(
        tmp_path,
        ["list", "backends", *plugin],
        ["list", "backends", "--details"],
        ["benchmark", *small],
        first=QUICK + TOY,
    )
    for status, text in said:
        assert status == 0, text
    names, details, report = (text for _, text in said)
    rows = {row["backend"]: row for row in json.loads(re.findall(r"^{.*", report, re.M)[0])["networks"]}
    assert list(rows) == ["reference:fp32", "eager:fp32", "toy:fp32", "onnx-numpy:fp32"]
    for backend, library in (("toy", "numpy"), ("onnx-numpy", "onnx")):
        assert backend in names.split()
        assert any(backend in line and "yes" in line for line in details.splitlines())
        row = rows[f"{backend}:fp32"]
        assert row["refused"] is None
        assert row["class_map"]["fps"] > 0
        notes = next(line for line in report.splitlines() if line.startswith("- "))
        assert f", {library} {row['engine'][library]}" in notes


class OfClassMaps(GraphEngine):
    """Its class maps come from the graph, and it builds itself."""

    backend, precisions, devices, output = "of-class-maps", by_name(FP32), ("cpu",), "class_map"

    @classmethod
    def create(cls, source: Graph, precision: str, shape: Any, device: Any, calibration: Any = None) -> "OfClassMaps":
        return cls(precision, shape, device)

    def infer(self, images: Tensor) -> Tensor:
        return torch.full(images.shape[:3], 7)


def test_an_engine_whose_graph_makes_the_class_maps(class_map_graph: Graph) -> None:
    engine = OfClassMaps.create(class_map_graph, "fp32", SHAPE, CPU)
    assert not engine.has_logits
    assert (engine(torch.zeros(*SHAPE, 3, dtype=torch.uint8)) == 7).all()


def test_an_engine_must_say_what_it_is() -> None:
    class Silent(TorchEngine):
        precisions = by_name(FP32)

    class Bare(Engine):
        """What it is."""

    with pytest.raises(UserError, match="engine 'silent': Silent lacks a docstring; see docs"):
        register_engine("silent")(Silent)
    with pytest.raises(UserError, match="engine 'bare': Bare lacks precisions, devices, takes;"):
        register_engine("bare")(Bare)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("declared", "example"),
    [
        ({"precisions": (FP32,)}, r"precisions = .* must be as in precisions = by_name\(FP32\)"),
        ({"devices": "cpu"}, r"devices = 'cpu' must be as in devices = \(\"cpu\",\)"),
        ({"takes": "onnx"}, 'takes = \'onnx\' must be as in takes = "network" or "graph"'),
        ({"output": "classes"}, 'output = \'classes\' must be as in output = "logits" or "class_map"'),
    ],
)
def test_what_an_engine_says_must_have_the_right_form(declared: dict[str, Any], example: str) -> None:
    wrong = type("Wrong", (TorchEngine,), {"__doc__": "What it is.", **declared})
    with pytest.raises(UserError, match=f"engine 'wrong': {example}"):
        register_engine("wrong")(wrong)
    assert "wrong" not in list_backends()


def test_a_library_inside_a_package_that_is_not_there_is_missing() -> None:
    class Nested(TorchEngine):
        """What it is."""

        libraries = {"no_such_package.inside": "no-such-package"}  # noqa: RUF012

    assert Nested.missing() == ["no-such-package"]
