"""`rtseg export --lint TARGET`: which operators of a network's graph a program does not take.

Nothing is run: the graph is compared with the program's own list.
"""

from collections import defaultdict
from typing import Any

from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.input_size import shape_for
from rtseg.deploy.exports.lint_targets import TARGETS, Target
from rtseg.deploy.exports.onnx_file import parse_onnx
from rtseg.deploy.exports.program import output_named
from rtseg.deploy.graph import OpenShape
from rtseg.errors import UserError, require
from rtseg.models.segmenter import Segmenter
from rtseg.terminal import say

_NAMED = 5  # nodes of an operator


def lint_network(checkpoint: str, target: str, shape: OpenShape | int, result: str = "logits") -> bool:
    """Says what a program does not take of a checkpoint's ONNX graph; whether it takes all.

    Args:
        target: one of `TARGETS`.
        shape, result: see `rtseg.deploy.exports.command.export_file`.

    Raises:
        UserError: an unknown target; see also `Segmenter.from_pretrained` and `export`.
    """
    if target not in TARGETS:
        raise UserError(f"--lint {target}: choose {', '.join(TARGETS)}")
    output, program = output_named(result), TARGETS[target]
    segmenter = Segmenter.from_pretrained(checkpoint)
    proto = parse_onnx(export(segmenter, shape_for(shape, segmenter.card), output).model, "the exported graph")
    operators, uint8 = not_taken(proto.graph, program)
    count = sum(map(len, (*operators.values(), *uint8.values())))
    say(f"{target}: {count} of {len(proto.graph.node)} operators are not on its list ({program.source})")
    for name, nodes in sorted(operators.items()):
        _say(name, nodes)
    if operators:
        say(f"Then {program.fate}. {program.repair}")
    for name, nodes in sorted(uint8.items()):
        _say(f"{name} of uint8", nodes)
    if uint8:
        say(f"Then {program.fate}. {program.uint8_repair}")
    say("Nothing was run: this compares names and types with the list.")
    return not count


def not_taken(graph: Any, target: Target) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names of nodes by operator: those that the target lacks, and those that it does not take with uint8."""
    onnx = require("onnx", "onnx")
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    operators: dict[str, list[str]] = defaultdict(list)
    uint8: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        if node.op_type not in target.operators or node.domain not in ("", "ai.onnx"):
            operators[node.op_type].append(node.name)
            continue
        has_uint8 = any(types.get(name) == onnx.TensorProto.UINT8 for name in node.input)
        if has_uint8 and target.uint8 is not None and node.op_type not in target.uint8:
            uint8[node.op_type].append(node.name)
    return operators, uint8


def _say(operator: str, nodes: list[str]) -> None:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    say(f"- {operator}: {len(nodes)} ({', '.join(nodes[:_NAMED])}{more})")
