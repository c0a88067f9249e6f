"""The interface of an engine: images -> logits -> class maps, for images of one shape or of any.

B batch, H, W image size, K classes, h, w the size of the logits.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map import check_logits, class_map, class_map_kind
from rtseg.deploy.device import instruction_sets
from rtseg.deploy.engines.precision import Precision
from rtseg.deploy.fuse import check_images
from rtseg.deploy.graph import Format, Graph, OpenShape, Output, fits, written
from rtseg.errors import UserError, require_package
from rtseg.models.network import Network


class Engine(ABC):
    """A network on an engine, built for images of one shape, or of any. Calling it gives class maps.

    The next call may overwrite what `logits` and `run` return. Calling the engine itself returns a copy.
    A registered class declares the attributes below. Listings show them with the first paragraph of its docstring.

    Attributes:
        backend: its name; `register_engine` sets it.
        precisions: name -> `Precision`; the first is the default.
        devices: types of device: "cpu", "cuda", "mps".
        takes: the input of `create`: a PyTorch "network", or an exported "graph".
        output: what it computes, and what a graph must put out: "logits", or "class_map" alone.
        formats: of the graphs that it takes; networks are exported in the first.
        open_sizes: whether one engine can be built for images of any size and number.
        libraries: module that it imports -> the package that `pip install` takes.
        runs_int8: whether it runs exported graphs in 8 bits.
        is_coarse: whether its float32 rounds more coarsely than that of the other engines, so that it is compared with
            them where one reads the same graph.
        is_reference: whether other engines are compared with it, for the networks or graphs that it takes.
        launches_kernels: whether PyTorch launches kernel by kernel, so that PyTorch knows what memory a run takes, and
            a lack of it is the caller's.
        name: "backend:precision".
        shape: (B, H, W) of the images that it was built for; None where it takes any number.
        device: where images and class maps lie.
        channels: of the images, which are then float32 grey levels; None: uint8 RGB. `create_engine` sets it.
        description: the engine, its versions, precision, threads and instruction sets, for a report. Plain JSON.
    """

    backend: ClassVar[str]
    precisions: ClassVar[dict[str, Precision]]
    devices: ClassVar[tuple[str, ...]]
    takes: ClassVar[Literal["network", "graph"]]
    output: ClassVar[Output] = "logits"
    formats: ClassVar[tuple[Format, ...]] = ("onnx",)
    open_sizes: ClassVar[bool] = False
    libraries: ClassVar[Mapping[str, str]] = {}
    runs_int8: ClassVar[bool] = True
    is_coarse: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False
    launches_kernels: ClassVar[bool] = False

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, **description: Any) -> None:
        self.name = f"{self.backend}:{precision}"
        self.precision = precision
        self.shape = shape
        self.device = device
        self.channels: int | None = None
        self.description: dict[str, Any] = {"backend": self.backend, "precision": precision}
        if device.type == "cpu":
            self.description |= {"threads": torch.get_num_threads(), "instruction_sets": instruction_sets()}
        self.description |= {"class_map": self._class_map_kind(), **self.versions(precision), **description}

    def _class_map_kind(self) -> str:
        return class_map_kind(self.device)

    @property
    def has_logits(self) -> bool:
        """Whether there is a step before the class map."""
        return self.output == "logits"

    @classmethod
    @abstractmethod
    def create(
        cls, source: Any, precision: str, shape: OpenShape, device: torch.device, calibration: Tensor | None
    ) -> "Engine":
        """Builds the engine. `create_engine` has checked the arguments.

        Args:
            source: what the class `takes`: a `Network`, which is copied, or a `Graph` that takes `shape` and puts out
                `output`.
            shape: (B, H, W) of the images; None for any number, which only classes with `open_sizes` are asked for.
            calibration: (N, H, W, 3) uint8 images for a precision that takes its ranges from them.
        """

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        """Precision -> rank, where it is usually faster than eager PyTorch; the highest rank of all is the best."""
        return {}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        """Precisions that `rtseg benchmark` measures on its devices where no engine is asked for."""
        return [next(iter(cls.precisions))]

    @classmethod
    def needs(cls, precision: str) -> Sequence[str]:
        """The `libraries` that a precision needs."""
        return list(cls.libraries)

    @classmethod
    def versions(cls, precision: str) -> dict[str, str]:
        """The installed version of each of the `libraries` that a precision needs."""
        return {library: _version(library) for library in cls.needs(precision)}

    @classmethod
    def missing(cls) -> list[str]:
        """What to `pip install` for all precisions; empty where nothing is missing."""
        return list(dict.fromkeys(packages for module, packages in cls.libraries.items() if not _is_there(module)))

    @classmethod
    def is_here(cls) -> bool:
        """Whether the libraries of the default precision are installed; whether they run here, `check` says."""
        return all(map(_is_there, cls.needs(next(iter(cls.precisions)))))

    @classmethod
    def about(cls) -> str:
        """What it is, in one line of Markdown."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        """Checks that it can be built here. Nothing is built.

        Raises:
            UserError: another device, a missing library or a missing instruction; the message says how to get it.
        """
        if device.type not in cls.devices:
            raise UserError(
                f"engine '{cls.backend}' runs on {' or '.join(cls.devices)}, not on {device}: leave it out, or "
                "choose another device"
            )
        for library in cls.needs(precision):
            require_package(library, cls.libraries[library])

    @classmethod
    def reads(cls, graph: Graph) -> bool:
        """Whether graphs of this format and precision are among those that it takes."""
        in_8_bits = graph.precision == "int8"
        return cls.takes == "graph" and graph.format in cls.formats and (cls.runs_int8 or not in_8_bits)

    @classmethod
    def runs(cls, network: Network | Graph) -> bool:
        """Whether it can run this: every network; of graphs those of its `formats` and `output`, if it takes graphs."""
        if isinstance(network, Graph):
            return cls.reads(network) and cls.output == network.output
        return True

    def prepare(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> what `logits` takes."""
        return images

    @abstractmethod
    def logits(self, prepared: Tensor) -> Tensor:
        """-> (B, K, h, w)."""

    def classes(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, K, h, w) -> (B, H, W) for `size` = (H, W)."""
        return class_map(logits, size)

    def run(self, images: Tensor) -> Tensor:
        """`__call__` without its checks and its copy."""
        return self.classes(self.logits(self.prepare(images)), size_of(images))

    def class_maps(self, images: Tensor, size: tuple[int, int], between: tuple[int, int] | None) -> Tensor:
        """(B, h, w, 3) uint8 -> (B, H, W) for `size` = (H, W), upsampled to `between` first where it is given; class
        maps that the engine itself puts out are resized by nearest neighbour.

        Raises:
            UserError: the logits are not finite.
        """
        if not self.has_logits:
            return F.interpolate(self.run(images)[:, None].double(), size, mode="nearest-exact")[:, 0]
        logits = self.logits(self.prepare(images))
        check_logits(logits)
        return self.classes(logits, size) if between is None else class_map(logits, size, between=between)

    def stages(self, images: Tensor) -> dict[str, Callable[[], Any]]:
        """The parts of `run`, each with the result of the part before it, so that each can be timed."""
        prepared = self.prepare(images)
        logits = self.logits(prepared).clone()  # the engine may write the next image's into the same memory
        return {
            "normalize": lambda: self.prepare(images),
            "network": lambda: self.logits(prepared),
            "class map": lambda: self.classes(logits, size_of(images)),
        }

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, H, W) class numbers 0..K-1.

        Raises:
            UserError: no images, or of another shape than the engine was built for.
        """
        check_images(images, self.channels)
        if not fits(self.shape, images.shape[:3]):
            raise UserError(
                f"'{self.name}' was built for {written(self.shape)} images (batch x height x width), not "
                f"{written(images.shape[:3])}: build one for this shape"
            )
        return self.run(images).clone()


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is not there
        return False


def _version(module: str) -> str:
    found = getattr(importlib.import_module(module), "__version__", None)
    return str(found or importlib.metadata.version(module)).split("-")[0]


def size_of(images: Tensor) -> tuple[int, int]:
    """(B, H, W, 3) -> (H, W)."""
    return images.shape[1], images.shape[2]
