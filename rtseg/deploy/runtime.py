"""A network at work on one of several engines, all behind one protocol: pictures -> logits -> class maps.

| backend           | engine                                                                          |
|-------------------|---------------------------------------------------------------------------------|
| reference         | PyTorch as most repositories run it: nothing folded, NCHW, interpolate + argmax |
| eager             | PyTorch, BatchNorm folded, channels_last, `class_map`                           |
| compile           | the same through torch.compile                                                  |
| cudagraph         | the same as one CUDA graph                                                      |
| onnxruntime       | ONNX Runtime, then `class_map`                                                  |
| onnxruntime-plain | ONNX Runtime, upsampling and argmax in the graph, as others export              |
| openvino          | OpenVINO, then `class_map`                                                      |

A backend's name takes a precision: "openvino:bf16"; fp32 without one.

B batch, H, W picture size, K classes, h, w the size of the logits.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map import class_map, class_map_kind
from rtseg.deploy.device import choose_device, instruction_sets
from rtseg.deploy.export import OnnxGraph, Output, export
from rtseg.deploy.fuse import DeployedSegmenter, check_pictures, count_batchnorm, deploy
from rtseg.deploy.rivals import Network
from rtseg.errors import UserError, require
from rtseg.registry import Registry

Shape = tuple[int, int, int]  # (B, H, W)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Runtime(ABC):
    """A network on an engine, built for pictures of one shape; calling it gives class maps.

    What `logits` and `run` return may be overwritten by the next call, what calling it returns is one's own.

    Attributes:
        name: "backend:precision".
        device: where pictures and class maps lie.
        description: the engine, its versions, precision, threads and instruction sets, for a report. Plain JSON.
    """

    backend: ClassVar[str]
    has_logits: ClassVar[bool] = True
    output: ClassVar[Output | None] = None  # what a graph must put out; None for an engine that runs PyTorch networks
    precisions: ClassVar[tuple[str, ...]]
    device_types: ClassVar[tuple[str, ...]]

    def __init__(self, precision: str, shape: Shape, device: torch.device, **description: Any) -> None:
        self.name = f"{self.backend}:{precision}"
        self.precision = precision
        self.shape = shape
        self.device = device
        self.description: dict[str, Any] = {"backend": self.backend, "precision": precision}
        if device.type == "cpu":
            self.description |= {"threads": torch.get_num_threads(), "instruction_sets": instruction_sets()}
        self.description |= {"class_map": self._class_map_kind(), **description}

    def _class_map_kind(self) -> str:
        return class_map_kind(self.device)

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        """Whether it can be built here, before anything is.

        Raises:
            UserError: another device, a missing library or a missing instruction; the message says how to get it.
        """
        if device.type not in cls.device_types:
            raise UserError(
                f"backend '{cls.backend}' runs on {' or '.join(cls.device_types)}, not on {device}: leave it out, or "
                "choose another device"
            )

    def prepare(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> what `logits` takes."""
        return pictures

    @abstractmethod
    def logits(self, prepared: Tensor) -> Tensor:
        """-> (B, K, h, w)."""

    def classes(self, logits: Tensor) -> Tensor:
        """(B, K, h, w) -> (B, H, W)."""
        return class_map(logits, self.shape[1:])

    def run(self, pictures: Tensor) -> Tensor:
        """`__call__` without its checks."""
        return self.classes(self.logits(self.prepare(pictures)))

    def stages(self, pictures: Tensor) -> dict[str, Callable[[], Any]]:
        """The parts of `run`, each to be timed apart, on what the part before it has made."""
        prepared = self.prepare(pictures)
        logits = self.logits(prepared).clone()  # the engine may write the next picture's into the same memory
        return {
            "normalize": lambda: self.prepare(pictures),
            "network": lambda: self.logits(prepared),
            "class map": lambda: self.classes(logits),
        }

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, H, W) class numbers 0..K-1.

        Raises:
            UserError: no pictures, or of another shape than the runtime was built for.
        """
        check_pictures(pictures)
        if tuple(pictures.shape[:3]) != self.shape:
            raise UserError(
                f"'{self.name}' was built for {_times(self.shape)} pictures (batch x height x width), not "
                f"{_times(pictures.shape[:3])}: build one for this shape"
            )
        return self.run(pictures).clone()


_RUNTIMES: Registry[type[Runtime]] = Registry("backend")


def list_backends() -> list[str]:
    """Names that `create_runtime` takes, without precisions."""
    return _RUNTIMES.names()


def best_backend(device: torch.device) -> str | None:
    """What is usually the fastest of the engines that can be had here beside eager PyTorch; None where none can."""
    preferred = {
        "cpu": ("openvino:bf16", "openvino", "onnxruntime"),
        "cuda": ("cudagraph:fp16",),
    }
    for name in preferred.get(device.type, ()):
        kind, precision = parse_backend(name)
        try:
            kind.check(precision, device)
        except UserError:
            continue
        return name
    return None


def parse_backend(name: str) -> tuple[type[Runtime], str]:
    """The class and the precision of "openvino:bf16".

    Raises:
        UserError: no such backend, or a precision that it does not have.
    """
    backend, _, precision = name.partition(":")
    kind = _RUNTIMES.get(backend)
    if (precision := precision or "fp32") not in kind.precisions:
        raise UserError(f"backend '{backend}' has no precision '{precision}': choose {', '.join(kind.precisions)}")
    return kind, precision


def create_runtime(
    name: str,
    network: Network | OnnxGraph,
    shape: Shape,
    *,
    device: torch.device | str | None = None,
    calibration: Tensor | None = None,
) -> Runtime:
    """Builds a runtime. On a CPU engines take PyTorch's number of threads.

    Args:
        name: "backend" or "backend:precision".
        network: a segmenter, or a module with its `card` and `logits`, which is copied; or an exported graph.
        shape: (B, H, W) of the pictures.
        device: None takes the CPU.
        calibration: (N, H, W, 3) uint8 pictures from which int8 takes its ranges.

    Raises:
        UserError: an unknown backend, or one that is not installed or cannot run on this device, at this precision or
            shape, or this graph.
    """
    kind, precision = parse_backend(name)
    device = choose_device(device or "cpu")
    kind.check(precision, device)
    if issubclass(kind, _GraphRuntime):
        assert kind.output is not None
        graph = network if isinstance(network, OnnxGraph) else export(network, shape, kind.output)
        graph.check(shape, kind.output)
        return kind(precision, shape, device, graph=graph, calibration=calibration)
    assert issubclass(kind, _TorchRuntime)
    if isinstance(network, OnnxGraph):
        raise UserError(f"backend '{kind.backend}' runs PyTorch networks, not {network.name}: give the checkpoint")
    return kind(precision, shape, device, network)


def _register(kind: type[Runtime]) -> type[Runtime]:
    return _RUNTIMES.register(kind.backend)(kind)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


class _TorchRuntime(Runtime):
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "fp16")
    device_types: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps")
    memory_format: ClassVar[str] = "channels_last"
    fold: ClassVar[bool] = True

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        memory_format = getattr(torch, self.memory_format)
        self.network: DeployedSegmenter = deploy(network, memory_format=memory_format, fold=self.fold)
        left = count_batchnorm(self.network)
        batchnorm = f"folded, but for {left}" if self.fold else "as trained"
        super().__init__(
            precision, shape, device, torch=torch.__version__, memory_format=self.memory_format, batchnorm=batchnorm
        )
        self.network.segmenter.to(device=device, dtype=DTYPES[precision])
        self.network.normalize.to(device)

    def prepare(self, pictures: Tensor) -> Tensor:
        return self.network.prepare(pictures)

    def logits(self, prepared: Tensor) -> Tensor:
        return self.network.logits(prepared)


@_register
class Reference(_TorchRuntime):
    """What others are held against: float32, nothing folded, NCHW, interpolate and argmax over all classes."""

    backend = "reference"
    precisions = ("fp32",)
    memory_format = "contiguous_format"
    fold = False

    def _class_map_kind(self) -> str:
        return "interpolate and argmax"

    def _upsample(self, logits: Tensor) -> Tensor:
        return F.interpolate(logits, size=self.shape[1:], mode="bilinear", align_corners=False)

    def classes(self, logits: Tensor) -> Tensor:
        return self._upsample(logits).argmax(1)

    def stages(self, pictures: Tensor) -> dict[str, Callable[[], Any]]:
        stages = super().stages(pictures)
        logits = self.logits(self.prepare(pictures))
        upsampled = self._upsample(logits)
        del stages["class map"]
        return {**stages, "upsample": lambda: self._upsample(logits), "argmax": lambda: upsampled.argmax(1)}


@_register
class Eager(_TorchRuntime):
    """BatchNorm folded, channels_last, the exact class map without the big tensor."""

    backend = "eager"


@_register
class Compiled(_TorchRuntime):
    """The network of `Eager` through torch.compile: C++ on a CPU, Triton and CUDA graphs on a GPU.

    Building it compiles, for a quarter of a minute or more. Weights are frozen: laid out once as the kernels read them.
    """

    backend = "compile"
    device_types = ("cpu", "cuda")

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            raise UserError("backend 'compile' needs Triton on CUDA, and it is not here: pip install triton")
        compiler = shlex.split(os.environ.get("CXX") or "g++")[0]
        if device.type == "cpu" and shutil.which(compiler) is None:
            raise UserError(
                f"backend 'compile' needs a C++ compiler, and '{compiler}' is not here: apt-get install g++, or set CXX"
            )

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        super().__init__(precision, shape, device, network)
        options: dict[str, Any] = {"triton.cudagraphs": True} if device.type == "cuda" else {}
        self._compiled = torch.compile(_alone(self.network.logits), dynamic=False, options=options)
        # As an option freezing would come too late: that weights are constants is decided before options are read.
        with torch.inference_mode(), torch._inductor.config.patch(freezing=True):
            self._compiled(self.prepare(torch.zeros(*shape, 3, dtype=torch.uint8, device=device)))

    def logits(self, prepared: Tensor) -> Tensor:
        return self._compiled(prepared)


def _alone(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same as a function with code of its own: what is compiled is kept with the code, a few versions of it, and
    the sizes and networks after these would silently run uncompiled.
    """

    def logits(prepared: Tensor) -> Tensor:
        return function(prepared)

    return FunctionType(logits.__code__.replace(), logits.__globals__, closure=logits.__closure__)


@_register
class CudaGraph(_TorchRuntime):
    """All of `Eager` recorded once as a CUDA graph and replayed: one launch a frame instead of one a kernel."""

    backend = "cudagraph"
    device_types = ("cuda",)

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        super().__init__(precision, shape, device, network)
        self._pictures = torch.zeros(*shape, 3, dtype=torch.uint8, device=device)
        self._prepared = self.prepare(self._pictures)
        self._logits = _record(self.network.logits, self._prepared)
        self._run = _record(lambda pictures: self.classes(self.network.logits(self.prepare(pictures))), self._pictures)

    def logits(self, prepared: Tensor) -> Tensor:
        self._prepared.copy_(prepared)
        return self._logits()

    def run(self, pictures: Tensor) -> Tensor:
        self._pictures.copy_(pictures)
        return self._run()


@torch.inference_mode()
def _record(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    """A function that replays `function(x)`; its result lies in the same memory every time."""
    with torch.cuda.device(x.device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # cuDNN chooses its algorithms and Triton compiles before the recording
            for _ in range(3):
                function(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function(x)

    def replay() -> Tensor:
        with torch.cuda.device(x.device):
            graph.replay()
        return result

    return replay


class _GraphRuntime(Runtime):
    """An engine that reads ONNX. The graph normalises, so that `prepare` has nothing to do."""

    output: ClassVar[Output | None] = "logits"

    @abstractmethod
    def _infer(self, pictures: Tensor) -> Tensor:
        """What the graph puts out."""

    def logits(self, prepared: Tensor) -> Tensor:
        return self._infer(prepared).permute(0, 3, 1, 2)

    def stages(self, pictures: Tensor) -> dict[str, Callable[[], Any]]:
        stages = super().stages(pictures)
        del stages["normalize"]
        return {"normalize + network" if name == "network" else name: step for name, step in stages.items()}


@_register
class OnnxRuntime(_GraphRuntime):
    """ONNX Runtime, float32, on the CPU or by its CUDA provider."""

    backend = "onnxruntime"
    precisions = ("fp32",)
    device_types = ("cpu", "cuda")

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        engine = require("onnxruntime", "onnx")
        if device.type == "cuda" and "CUDAExecutionProvider" not in engine.get_available_providers():
            raise UserError(
                f"this ONNX Runtime {engine.__version__} has no CUDA: pip uninstall onnxruntime; "
                "pip install onnxruntime-gpu"
            )

    def __init__(
        self, precision: str, shape: Shape, device: torch.device, graph: OnnxGraph, calibration: Tensor | None
    ) -> None:
        engine = require("onnxruntime", "onnx")
        options = engine.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        provider: Any = "CPUExecutionProvider"
        if device.type == "cuda":
            provider = ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0})
        try:
            self._session = engine.InferenceSession(graph.model, options, providers=[provider])
        except Exception as error:  # the engine's own classes, one for every kind of damage
            raise UserError(f"ONNX Runtime cannot run {graph.name}: {_first_line(error)}") from None
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        (provider, *_) = self._session.get_providers()
        if device.type == "cuda" and provider != "CUDAExecutionProvider":  # it goes on with the CPU where CUDA fails
            raise UserError(
                f"ONNX Runtime {engine.__version__} cannot start CUDA here: install the CUDA and cuDNN that it was "
                "built for, or leave this backend out"
            )
        super().__init__(precision, shape, device, onnxruntime=engine.__version__, provider=provider)

    def _infer(self, pictures: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return torch.from_numpy(self._session.run(None, {self._input: pictures.numpy()})[0])
        binding = self._session.io_binding()
        pictures = pictures.contiguous()
        where = ("cuda", self.device.index or 0)
        binding.bind_input(self._input, *where, "uint8", tuple(pictures.shape), pictures.data_ptr())
        binding.bind_output(self._output, *where)
        torch.cuda.current_stream(self.device).synchronize()  # the engine works on a stream of its own
        self._session.run_with_iobinding(binding)
        return torch.from_dlpack(binding.get_outputs()[0]._ortvalue)


@_register
class OnnxRuntimePlain(OnnxRuntime):
    """Upsampling and argmax are part of the graph: what an export of the whole network gives elsewhere."""

    backend = "onnxruntime-plain"
    output = "class_map"
    has_logits = False

    def _class_map_kind(self) -> str:
        return "in the graph"

    def logits(self, prepared: Tensor) -> Tensor:
        raise UserError(f"the graph of '{self.backend}' puts out class maps alone")

    def run(self, pictures: Tensor) -> Tensor:
        return self._infer(pictures)

    def stages(self, pictures: Tensor) -> dict[str, Callable[[], Any]]:
        return {"normalize + network + upsample + argmax": lambda: self.run(pictures)}


@_register
class OpenVINO(_GraphRuntime):
    """Intel's engine, which also runs on other x86 and on ARM processors.

    int8: weights and feature maps of convolutions, quantised after training by NNCF with ranges from `calibration`.
    """

    backend = "openvino"
    precisions = ("fp32", "bf16", "fp16", "int8")
    device_types = ("cpu",)

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        engine = require("openvino", "openvino")
        if precision == "int8":
            require("nncf", "openvino")
        can = engine.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision in ("bf16", "fp16") and precision.upper() not in can:
            raise UserError(
                f"this processor has no {precision} instructions; OpenVINO finds {', '.join(can)}. Choose openvino:fp32"
            )

    def __init__(
        self, precision: str, shape: Shape, device: torch.device, graph: OnnxGraph, calibration: Tensor | None
    ) -> None:
        engine = require("openvino", "openvino")
        core = engine.Core()
        try:
            model = core.read_model(graph.model, b"")
        except Exception as error:  # RuntimeError, or one of the engine's own
            raise UserError(f"OpenVINO cannot read {graph.name}: {_first_line(error)}") from None
        if precision == "int8":
            model = _quantize(model, calibration, shape[0])
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "bf16" if _has_bf16(core) else "f32"}[precision]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise UserError(f"OpenVINO cannot compile {graph.name}: {_first_line(error)}") from None
        self._request = compiled.create_infer_request()
        super().__init__(
            precision, shape, device,
            openvino=engine.__version__.split("-")[0],
            **({"nncf": importlib.metadata.version("nncf")} if precision == "int8" else {}),
            float_part=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        )  # fmt: skip

    def _infer(self, pictures: Tensor) -> Tensor:
        # Shared: neither pictures nor logits are copied, the logits lie in the engine's memory.
        result = self._request.infer([pictures.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0])


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _quantize(model: Any, calibration: Tensor | None, batch: int) -> Any:
    if calibration is None:
        raise UserError("int8 takes its ranges from pictures: give some with --image")
    nncf = require("nncf", "openvino")
    many = calibration.repeat(-(-batch // len(calibration)), 1, 1, 1)
    pictures = [pictures.numpy() for pictures in many.split(batch) if len(pictures) == batch]
    with contextlib.redirect_stdout(sys.stderr):  # its progress; stdout is for results
        return nncf.quantize(model, nncf.Dataset(pictures), subset_size=len(pictures))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
