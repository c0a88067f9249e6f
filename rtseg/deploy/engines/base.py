"""What an engine is to the rest of rtseg: pictures -> logits -> class maps, for pictures of one shape.

B batch, H, W picture size, K classes, h, w the size of the logits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rtseg.deploy.class_map import class_map, class_map_kind
from rtseg.deploy.device import instruction_sets
from rtseg.deploy.export import Output
from rtseg.deploy.fuse import check_images
from rtseg.errors import UserError
from rtseg.registry import Registry

Shape = tuple[int, int, int]  # (B, H, W)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(ABC):
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
        check_images(pictures)
        if tuple(pictures.shape[:3]) != self.shape:
            raise UserError(
                f"'{self.name}' was built for {_times(self.shape)} pictures (batch x height x width), not "
                f"{_times(pictures.shape[:3])}: build one for this shape"
            )
        return self.run(pictures).clone()


_ENGINES: Registry[type[Engine]] = Registry("backend")


def register_engine(kind: type[Engine]) -> type[Engine]:
    """Class decorator: files an engine under its `backend`."""
    return _ENGINES.register(kind.backend)(kind)


def list_backends() -> list[str]:
    """Names that `create_engine` takes, without precisions."""
    return _ENGINES.names()


def parse_backend(name: str) -> tuple[type[Engine], str]:
    """The class and the precision of "openvino:bf16".

    Raises:
        UserError: no such backend, or a precision that it does not have.
    """
    backend, _, precision = name.partition(":")
    kind = _ENGINES.get(backend)
    if (precision := precision or "fp32") not in kind.precisions:
        raise UserError(f"backend '{backend}' has no precision '{precision}': choose {', '.join(kind.precisions)}")
    return kind, precision


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def first_line(error: Exception) -> str:
    """What an engine says first; the rest is its own traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
