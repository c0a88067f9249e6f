"""An ONNX graph rewritten for MNN: the same function, in forms that MNN computes with less copying and more threads.

MNN keeps maps in blocks of channels (NC4HW4) and other tensors as ONNX has them; it copies between the two. One product
of matrices has one thread, and so has one softmax, unless there are several to compute. Therefore

- attention over a map is computed row by row of the map, with a softmax over the last axis;
- what a product gives is brought into blocks before it is added to a map: otherwise sum and readers leave the blocks;
- images are normalised before they are turned to channels first, and their scale goes into the first convolution.

B batch, C, D channels, H, W size of a map, T tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtseg.errors import require

_TO_LAST, _FROM_LAST = [0, 2, 3, 1], [0, 3, 1, 2]  # channels, and back
# Operators whose results are in blocks, and those whose results are as what they read first.
_BLOCKED = ("Conv", "BatchNormalization", "Resize", "AveragePool", "MaxPool", "GlobalAveragePool")
_FOLLOWING = ("Add", "Relu", "Gelu", "Sigmoid")


def rewrite_for_mnn(proto: Any) -> None:
    """Rewrites the message of an ONNX graph in place; the results change by rounding alone."""
    graph = _Graph(proto.graph)
    for rewrite in (_attend_by_rows, _add_in_blocks, _normalize_first):
        for node in list(graph.nodes):
            rewrite(graph, node)
    graph.write()


class _Graph:
    """The nodes of an ONNX graph, in order.

    Attributes:
        shapes: name -> the sides of a tensor, numbers or names, where the graph has them.
        constants: name -> tensor.
    """

    def __init__(self, graph: Any) -> None:
        self.onnx: Any = require("onnx", "onnx")
        self.graph = graph
        self.nodes: list[Any] = list(graph.node)
        self.shapes = {
            value.name: [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.constants = {tensor.name: tensor for tensor in graph.initializer}

    def source(self, name: str) -> Any:
        """The node that gives a tensor; one without operator for inputs and constants."""
        return next((node for node in self.nodes if name in node.output), self.onnx.NodeProto())

    def reader(self, name: str) -> Any:
        """The node that alone reads a tensor; one without operator where there is none, or are several."""
        readers = [node for node in self.nodes if name in node.input]
        put_out = any(value.name == name for value in self.graph.output)
        return readers[0] if len(readers) == 1 and not put_out else self.onnx.NodeProto()

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        return self.onnx.helper.make_node(operator, list(inputs), [output], **attributes)

    def attribute(self, node: Any, name: str) -> Any:
        """An attribute's value; None where it is not given."""
        return next((self.onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)

    def values(self, name: str) -> np.ndarray:
        """A constant's, in float64."""
        return self.onnx.numpy_helper.to_array(self.constants[name]).astype(np.float64)

    def constant(self, name: str, values: np.ndarray) -> str:
        """Writes a constant, and gives its name."""
        tensor = self.onnx.numpy_helper.from_array(values, name)
        if name in self.constants:
            self.constants[name].CopyFrom(tensor)
        else:
            self.graph.initializer.append(tensor)
            self.constants[name] = self.graph.initializer[-1]
        return name

    def replace(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Puts nodes where the last of others stood."""
        places = [i for i, node in enumerate(self.nodes) if any(node is other for other in old)]
        self.nodes[places[-1] + 1 : places[-1] + 1] = new
        for i in reversed(places):
            del self.nodes[i]

    def write(self) -> None:
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)


def _attend_by_rows(graph: _Graph, softmax: Any) -> None:
    """V softmax(K x) over T, the softmax's axis 1, with K (B, T, C), V (B, D, T) and x (B, C, H, W) as one row of
    tokens, to softmax(x K) V for each row of the map.
    """
    if softmax.op_type != "Softmax" or graph.attribute(softmax, "axis") != 1:
        return
    scores, values = graph.source(softmax.input[0]), graph.reader(softmax.output[0])
    if (scores.op_type, values.op_type) != ("MatMul", "MatMul") or values.input[1] != softmax.output[0]:
        return
    if len(graph.shapes.get(softmax.input[0], [])) != 3 or graph.reader(softmax.input[0]) is not softmax:
        return
    flat, whole = graph.source(scores.input[1]), graph.reader(values.output[0])
    if (flat.op_type, whole.op_type) != ("Reshape", "Reshape"):
        return
    before, after = (graph.shapes.get(name, []) for name in (flat.input[0], whole.output[0]))
    rows_in, rows_out = (graph.shapes.get(name, []) for name in (scores.input[1], values.output[0]))
    if len(before) != 4 or len(after) != 4 or before[2:] != after[2:]:
        return
    if rows_in[:2] != before[:2] or rows_out[:2] != after[:2]:  # several heads, as further images of the batch
        return
    name = softmax.output[0]
    times, repeated = ("", []) if before[0] == 1 else _times_of_rows(graph, f"{name}_positions")
    new = [
        graph.node("Transpose", [flat.input[0]], f"{name}_positions", perm=_TO_LAST),
        *repeated,
        *_for_rows(graph, scores.input[0], f"{name}_keys", times),
        graph.node("MatMul", [f"{name}_positions", f"{name}_keys"], f"{name}_scores"),
        graph.node("Softmax", [f"{name}_scores"], f"{name}_weights", axis=3),
        *_for_rows(graph, values.input[0], f"{name}_values", times),
        graph.node("MatMul", [f"{name}_weights", f"{name}_values"], f"{name}_rows"),
        graph.node("Transpose", [f"{name}_rows"], whole.output[0], perm=_FROM_LAST),
    ]
    rows = [flat] if graph.reader(flat.output[0]) is scores else []
    graph.replace([*rows, scores, softmax, values, whole], new)


def _for_rows(graph: _Graph, matrix: str, name: str, times: str) -> list[Any]:
    """(B, M, N) -> (B, 1, N, M), or (B, H, N, M) where `times` names the shape (1, H, 1, 1)."""
    one = f"{name}_once" if times else name
    return [
        graph.node("Transpose", [matrix], f"{name}_turned", perm=[0, 2, 1]),
        graph.node("Unsqueeze", [f"{name}_turned", graph.constant("axis_of_rows", np.array([1]))], one),
        *([graph.node("Expand", [one, times], name)] if times else []),
    ]


def _times_of_rows(graph: _Graph, positions: str) -> tuple[str, list[Any]]:
    """The name of the shape (1, H, 1, 1) of positions (B, H, W, C), and the nodes that make it.

    With one matrix for all rows of an image MNN 3.6 takes wrong ones in a batch, so it is repeated for each row.
    """
    one, height, times = graph.constant("one_of_shape", np.array([1])), f"{positions}_height", f"{positions}_times"
    return times, [
        graph.node("Shape", [positions], height, start=1, end=2),
        graph.node("Concat", [one, height, one, one], times, axis=0),
    ]


def _add_in_blocks(graph: _Graph, add: Any) -> None:
    """Where a map in blocks and another one are added: the other one through a norm that changes nothing, since the
    results of norms are in blocks.
    """
    shape = graph.shapes.get(add.output[0], [])
    if add.op_type != "Add" or len(shape) != 4 or not isinstance(shape[1], int):
        return
    for here, there in ((0, 1), (1, 0)):
        name, channels = add.input[here], shape[1]
        if graph.source(name).op_type not in ("Transpose", "Reshape") or graph.shapes.get(name) != shape:
            continue
        if not _is_blocked(graph, add.input[there]):
            continue
        zeros = graph.constant(f"zeros_{channels}", np.zeros(channels, np.float32))
        ones = graph.constant(f"ones_{channels}", np.ones(channels, np.float32))
        blocked = f"{name}_in_blocks"
        if not graph.source(blocked).op_type:  # else an earlier sum reads it, too
            norm = graph.node("BatchNormalization", [name, ones, zeros, zeros, ones], blocked, epsilon=0.0)
            graph.replace([add], [norm, add])
        add.input[here] = blocked


def _is_blocked(graph: _Graph, name: str) -> bool:
    node = graph.source(name)
    while node.op_type in _FOLLOWING:
        node = graph.source(node.input[0])
    return node.op_type in _BLOCKED


def _normalize_first(graph: _Graph, turn: Any) -> None:
    """conv(scale * float(turned images) + shift) to conv'(turned float(images) + shift / scale), conv' of scaled
    weights. The shift stays where it is: the convolution pads zeros behind it.
    """
    if turn.op_type != "Transpose" or turn.input[0] not in [value.name for value in graph.graph.input]:
        return
    row = [turn]
    for operator in ("Cast", "Mul", "Add", "Conv"):
        row.append(graph.reader(row[-1].output[0]))
        if row[-1].op_type != operator:
            return
    _, cast, scaled, shifted, conv = row
    constants = [[name for name in node.input if name in graph.constants] for node in (scaled, shifted)]
    weights, name = conv.input[1], turn.input[0]
    if [len(names) for names in constants] != [1, 1] or graph.reader(weights) is not conv:
        return
    (scale,), (shift,) = constants
    if weights not in graph.constants or graph.attribute(conv, "group") not in (None, 1):
        return
    factor = graph.values(scale)
    graph.constant(weights, (graph.values(weights) * factor).astype(np.float32))
    offset = graph.constant(f"{name}_shift", (graph.values(shift) / factor).astype(np.float32))
    new = [
        graph.node("Cast", [name], f"{name}_float", to=graph.onnx.TensorProto.FLOAT),
        graph.node("Transpose", [f"{name}_float"], f"{name}_turned", perm=_FROM_LAST),
        graph.node("Add", [f"{name}_turned", offset], shifted.output[0]),
    ]
    graph.replace([turn, cast, scaled, shifted], new)
