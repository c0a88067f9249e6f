"""MNN."""

import importlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rtseg.deploy.c_output import silent_c
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import FP32, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.graph import Graph, OpenShape, written
from rtseg.deploy.mnn_model import convert_to_mnn
from rtseg.errors import UserError, first_line

_FIRST = (1, 512, 512)  # of an open shape
_WINOGRAD = 3  # MNN's hint WINOGRAD_MEMORY_LEVEL


class _Threads:
    """Whether the engine's threads can be had. GNU's OpenMP, which it brings, waits for ever after a fork."""

    started = False  # in this process
    lost = False  # with the process that this one was forked from

    @classmethod
    def forked(cls) -> None:
        cls.lost = cls.lost or cls.started

    @classmethod
    def number(cls) -> int:
        cls.started = True
        return 1 if cls.lost else torch.get_num_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Threads.forked)


@register_engine("mnn")
class MNN(GraphEngine):
    """MNN, then `class_map`. Winograd's convolutions: fewer multiplications, and logits that differ by up to 1e-3 of
    their spread (`mnn-small-tiles`: less).

    Alibaba's engine, also for ARM processors and phones. On x86 it computes in float32 whatever precision is asked for
    (MNN 3.6), so that no other is offered. In a process that was forked from one that ran it, it has one thread.
    """

    precisions = by_name(FP32)
    devices = ("cpu",)
    open_sizes = True
    any_output = True
    runs_int8 = False
    is_coarse = True
    formats = ("onnx", "mnn")
    libraries: ClassVar[Mapping[str, str]] = {"MNN": "rtseg[mnn]"}
    _tiles: ClassVar[int] = 3  # MNN's own: squares of 2, 4 or 6 positions, whichever takes the fewest multiplications

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {"fp32": 3}

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        with silent_c():  # its import prints what the processor can do
            super().check(precision, device)

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, graph: Graph) -> None:
        if graph.precision == "int8":  # it would take the file, and fail at the first image
            raise UserError(f"MNN does not run graphs in 8 bits, as {graph.name} is: choose onnxruntime or openvino")
        threads = _Threads.number()
        settings = {"backend": "CPU", "precision": "high", "numThread": threads}
        model = graph.model if graph.format == "mnn" else convert_to_mnn(graph.model, "")
        with tempfile.TemporaryDirectory() as folder, silent_c():
            file = Path(folder, "net.mnn")  # it reads files alone
            file.write_bytes(model)
            try:
                self._interpreter: Any = importlib.import_module("MNN").Interpreter(str(file))
                self._interpreter.setSessionHint(_WINOGRAD, self._tiles)
                self._session: Any = self._interpreter.createSession(settings)
                self._input: Any = self._interpreter.getSessionInput(self._session)
            except Exception as error:
                raise UserError(f"MNN cannot run {graph.name}: {first_line(error)}") from None
        # The first size decides how each convolution is computed, so that it must not be that of the first image.
        first_size = (side or first for side, first in zip(shape, _FIRST, strict=True))
        self._resize((*first_size, graph.card.in_channels))
        self._logits = np.empty(0, np.float32)
        super().__init__(precision, shape, device, threads=threads)

    def _resize(self, shape: tuple[int, ...]) -> None:
        if self._input.getShape() != shape:
            with silent_c():  # it prints where it fails, and returns nothing that says so
                self._interpreter.resizeTensor(self._input, shape)
                self._interpreter.resizeSession(self._session)

    def infer(self, images: Tensor) -> Tensor:
        self._resize(tuple(images.shape))
        # Both arrays are the engine's memory, which another size frees: images are written into it, logits are copied.
        self._input.getNumpyData()[...] = images.numpy()
        with silent_c():
            self._interpreter.runSession(self._session)
        logits = self._interpreter.getSessionOutput(self._session).getNumpyData()
        if len(logits) != len(images):  # it cannot run this
            raise UserError(f"MNN cannot run this for {written(images.shape[:3])} images: choose another engine")
        if self._logits.shape != logits.shape:
            self._logits = np.empty_like(logits)
        np.copyto(self._logits, logits)
        return torch.from_numpy(self._logits)

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        first = self.infer(images).clone()
        named = self._interpreter.getSessionOutputAll(self._session)
        margins = [torch.from_numpy(named[name].getNumpyData().copy()) for name in named if name == "margin"]
        return [first, *margins]
