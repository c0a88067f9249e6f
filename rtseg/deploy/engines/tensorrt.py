"""TensorRT."""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rtseg.deploy.cache import keep, kept
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import FP16, FP32, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.graph import Graph, OpenShape
from rtseg.errors import UserError, first_line

_MOST_PLANS = 16  # of some 20 MB, that are kept


@register_engine("tensorrt")
class TensorRT(GraphEngine):
    """TensorRT, then `class_map`. Building takes minutes the first time; the plan stays in the user's cache. Not yet
    run on a GPU.
    """

    precisions = by_name(FP32, FP16)
    devices = ("cuda",)
    libraries: ClassVar[Mapping[str, str]] = {
        "tensorrt": "rtseg[tensorrt]",
        "onnx": "rtseg[tensorrt]",
        "onnxruntime": "rtseg[tensorrt]",
    }

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp16"] if device.type == "cuda" else []

    @classmethod
    def needs(cls, precision: str) -> Sequence[str]:
        return ["tensorrt", "onnx", "onnxruntime"] if precision == "fp16" else ["tensorrt", "onnx"]

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, graph: Graph) -> None:
        trt = importlib.import_module("tensorrt")
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
            plan, cached = self._plan(trt, precision, shape, device, graph)
            self._engine = self._runtime.deserialize_cuda_engine(plan)  # the context needs it alive
            if self._engine is None:
                raise UserError(f"TensorRT {trt.__version__} cannot load its plan of {graph.name}")
            self._context = self._engine.create_execution_context()
            self._stream = torch.cuda.Stream()
        self._input, self._output = (self._engine.get_tensor_name(i) for i in range(2))
        size = tuple(self._context.get_tensor_shape(self._output))
        self._logits = torch.empty(size, dtype=torch.float32, device=device)
        self._context.set_tensor_address(self._output, self._logits.data_ptr())
        super().__init__(precision, shape, device, plan="from the cache" if cached else "built")

    @staticmethod
    def _plan(
        trt: Any, precision: str, shape: OpenShape, device: torch.device, graph: Graph
    ) -> tuple[bytes | memoryview, bool]:
        """The compiled network, and whether it was in the cache: it belongs to one GPU and one version of TensorRT."""
        gpu = torch.cuda.get_device_properties(device)
        parts = (trt.__version__, gpu.name, f"{gpu.major}.{gpu.minor}", precision, shape)
        digest = hashlib.sha256(graph.model + repr(parts).encode()).hexdigest()[:32]
        name = f"tensorrt/{digest}.plan"
        if (file := kept(name)) is not None:
            return file.read_bytes(), True
        plan = build_plan(trt, strongly_typed(graph.model, precision), shape, graph.name)
        keep(name, bytes(plan), _MOST_PLANS)
        return plan, False

    def infer(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        with torch.cuda.device(self.device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)  # on the default stream TensorRT would wait for the whole GPU
            self._context.set_tensor_address(self._input, images.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError(f"TensorRT could not run '{self.name}'")
            current.wait_stream(self._stream)
        return self._logits


def strongly_typed(model: bytes, precision: str) -> bytes:
    """The ONNX graph as TensorRT wants it.

    TensorRT 11 computes each operator in the type that the graph says, so fp16 is written into the graph; logits stay
    float32. And it knows uint8 at the network's input alone, to be cast there, before anything else is done with it.
    """
    onnx = importlib.import_module("onnx")
    proto = onnx.load_model_from_string(model)
    if precision == "fp16":
        halves = importlib.import_module("onnxruntime.transformers.float16")
        proto = halves.convert_float_to_float16(proto, keep_io_types=True)
    first, second = proto.graph.node[:2]
    if (first.op_type, second.op_type) == ("Transpose", "Cast") and list(second.input) == list(first.output):
        (images,), (between,), (result,) = list(first.input), list(first.output), list(second.output)
        second.input[:], second.output[:] = [images], [between]
        first.input[:], first.output[:] = [between], [result]
        nodes = [second, first, *proto.graph.node[2:]]
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del proto.graph.node[:], proto.graph.value_info[:]  # their types are no longer true
        proto.graph.node.extend(ordered)
    return bytes(proto.SerializeToString())


def build_plan(trt: Any, model: bytes, shape: OpenShape, name: str) -> bytes | memoryview:
    """Compiles an ONNX graph for images of `shape` = (B, H, W).

    Raises:
        UserError: TensorRT cannot read or build it.
    """
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))  # the rule from 11 on
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(model):
        reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise UserError(f"TensorRT {trt.__version__} cannot read {name}: {first_line(Exception('; '.join(reasons)))}")
    images = network.get_input(0)
    images.shape = (*shape, images.shape[3])
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UserError(f"TensorRT {trt.__version__} cannot build {name}: its own messages above say why")
    return plan
