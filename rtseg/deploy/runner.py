"""A network at work on an engine: for images of any size, from any thread, and after a fork.

B batch, h, w size of the images that the network sees, H, W size of the class map, K classes.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.asked import AUTO, asked_engine
from rtseg.deploy.built_engines import BuiltEngines
from rtseg.deploy.cache import alone
from rtseg.deploy.choice import conditions_of, measure, remembered, size_class, without_measuring
from rtseg.deploy.class_map import check_logits
from rtseg.deploy.device import choose_device
from rtseg.deploy.engines import FP32, Engine, GraphEngine, parse_backend, size_of
from rtseg.deploy.explain import Choice
from rtseg.deploy.graph import OPEN, Graph, OpenShape, written
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash
from rtseg.terminal import say

_runners: "weakref.WeakSet[Runner]" = weakref.WeakSet()


class Runner:
    """Runs a network or an exported file on an engine, one batch at a time.

    Args:
        source: a network, which is not changed, or an exported file.
        engine: "auto", or a name that `create_engine` takes.
        device: None takes a GPU where there is one, for an exported file the CPU.

    Attributes:
        device: where it runs.
        shape: (B, h, w) of the images that it takes; None where it takes any number.
        weights: hash of the network's weights.
        puts_out_margins: whether it runs a file of class maps and margins.
        may_measure: whether "auto" may take seconds to measure the engines. If not, it is what was measured before, or
            what `without_measuring` says. To be set before the first image.

    Raises:
        UserError: an engine that is unknown or not installed, or that cannot run this.
    """

    def __init__(self, source: Network | Graph, engine: str = AUTO, device: str | torch.device | None = None) -> None:
        self.device = choose_device("cpu" if device is None and isinstance(source, Graph) else device)
        self.shape: OpenShape = source.shape if isinstance(source, Graph) else OPEN
        self.weights = source.weights if isinstance(source, Graph) else weights_hash(source)
        self.may_measure, self._forked = True, False
        self.puts_out_margins = isinstance(source, Graph) and source.output == "class_map_margin"
        self._dtype = torch.uint8 if source.card.num_classes <= 256 else torch.int16
        self._source = source
        self._engine = asked_engine(engine, source, self.device)
        self._choices: dict[int, Choice] = {}
        self._begin(BuiltEngines(source, self.shape, self.device))

    def _begin(self, engines: BuiltEngines) -> None:
        """Takes engines of its own, which one thread at a time uses."""
        self._engines, self._lock = engines, threading.RLock()
        _runners.add(self)

    @property
    def is_exact(self) -> bool:
        """Whether its class maps are those of "auto": it computes in float32, and upsamples as plain PyTorch."""
        if self._engine == AUTO:
            return True
        kind, precision = parse_backend(self._engine)
        return precision == FP32.name and (isinstance(self._source, Graph) or kind.output == "logits")

    @property
    def has_source_margins(self) -> bool:
        """Whether what it runs puts out logits or margins, and not class maps alone, on the engine asked for."""
        if isinstance(self._source, Graph):
            return self._source.output != "class_map"
        return self._engine == AUTO or parse_backend(self._engine)[0].output == "logits"

    @property
    def engine(self) -> str:
        """What was asked for: "auto", or the name of an engine."""
        return self._engine

    def engines(self) -> list[tuple[str, OpenShape]]:
        """The engines that are built, and the shape of images that each is for; the one that was used last is last."""
        return self._engines.names()

    def choices(self) -> list[Choice]:
        """The engines that were taken so far, one for each size class."""
        return list(self._choices.values())

    def taken(self) -> str:
        """ "openvino:fp32 on the CPU": the engines that were taken so far, else what was asked for."""
        names = dict.fromkeys(choice.engine for _, choice in sorted(self._choices.items())) or [self._engine]
        places = {"cpu": "the CPU", "cuda": "the GPU"}
        return f"{', '.join(names)} on {places.get(self.device.type, self.device.type)}"

    def choice(self, images: Tensor) -> Choice:
        """The engine for images of this size, see `rtseg.deploy.choice`; measured at the first images of a size class.

        Args:
            images: (B, h, w, 3) uint8 on the CPU.
        """
        if self._forked and torch.get_num_threads() > 1:
            torch.set_num_threads(1)  # OpenMP's threads stayed in the parent, and would be waited for
        with self._lock:
            key = size_class(images)
            if key not in self._choices:
                self._choices[key] = self._choose(images)
            return self._choices[key]

    def _choose(self, images: Tensor) -> Choice:
        if self._engine != AUTO:
            return Choice(self._engine, "it was asked for")
        conditions = conditions_of(self._source, self.weights, images, self.device)
        if before := remembered(conditions):
            return before
        if not self.may_measure:
            return without_measuring(self._source, self.device)
        # One measurement at a time, of any network: two would disturb each other.
        with alone("engines/measuring", "measures engines"):
            return remembered(conditions) or self._measure(images, conditions)

    def _measure(self, images: Tensor, conditions: dict[str, Any]) -> Choice:
        if len(conditions["engines"]) > 1:
            say(
                f"{self._source.card.model}: measuring which engine is the fastest for {written(size_of(images))}, "
                f"once on this machine, ten seconds to a minute ({', '.join(conditions['engines'])})",
                stderr=True,
            )
        given = next(self._batches(images))[0]
        shape = (len(given), *size_of(given))
        chosen = measure(self._source, given, conditions, lambda name: self._engines.get(name, shape))
        self._engines.keep({chosen.engine, *(choice.engine for choice in self._choices.values())})
        return chosen

    def class_map(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Class maps of any size; the logits are upsampled to it as the card says (`upsampling`).

        Class maps that a file puts out are resized by nearest neighbour.

        Args:
            images: (B, h, w, 3) uint8 on the CPU, of a size that `shape` takes.
            size: (H, W).

        Returns:
            (B, H, W) class numbers on the CPU, uint8 for up to 256 classes, int16 above.

        Raises:
            UserError: the logits are not finite.
        """
        between = self.between(size_of(images), size)
        with self._lock, torch.inference_mode():
            engine = self._engine_for(images)
            maps = [engine.class_maps(part, size, between)[:wanted] for part, wanted in self._batches(images)]
            on_cpu = [one.to("cpu", self._dtype) for one in maps]
            # `class_map` makes a new map each time; an engine that makes its own may write the next into this one.
            return on_cpu[0] if len(maps) == 1 and engine.has_logits else torch.cat(on_cpu)

    def has_logits(self, images: Tensor) -> bool:
        """Whether the engine for these images has a step before the class map."""
        with self._lock:
            return self._engine_for(images).has_logits

    def margin(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, 3) uint8 on the CPU -> class maps and margins (B, h, w) on the CPU, of a file that has them."""
        with self._lock, torch.inference_mode():
            engine = self._engine_for(images)
            assert isinstance(engine, GraphEngine)
            found = [
                [one[:n].to("cpu", copy=True) for one in engine.outputs(part)] for part, n in self._batches(images)
            ]
            maps, margins = (torch.cat(parts) for parts in zip(*found, strict=True))
            return maps.to(self._dtype), margins

    def between(self, seen: tuple[int, int], size: tuple[int, int]) -> tuple[int, int] | None:
        """The size to which logits of an image that the network saw at size `seen` are upsampled before they are
        upsampled to `size`; None where one step does.
        """
        return seen if self._source.card.upsampling == "twice" and seen != size else None

    def logits(self, images: Tensor) -> Tensor:
        """(B, h, w, 3) uint8 on the CPU -> (B, K, ., .) float32 logits at the network's own stride, on the CPU.

        Raises:
            UserError: the logits are not finite, or the file puts out class maps alone.
        """
        with self._lock, torch.inference_mode():
            engine = self._engine_for(images)
            found = []
            for part, wanted in self._batches(images):
                logits = engine.logits(engine.prepare(part))[:wanted]
                check_logits(logits)
                found.append(logits.float().cpu())
            return torch.cat(found)

    def _batches(self, images: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The images in batches of the right number, on the device, and how many of each are wanted: the last batch of
        a file of fixed batch is filled with repeated images.
        """
        batch = self.shape[0] or len(images)
        for part in images.split(batch):
            filled = part if len(part) == batch else part[torch.arange(batch) % len(part)]
            yield filled.to(self.device), len(part)

    def _engine_for(self, images: Tensor) -> Engine:
        return self._engines.get(self.choice(images).engine, (self.shape[0] or len(images), *size_of(images)))


def _after_fork() -> None:
    for runner in list(_runners):
        runner._engines.leave_to_parent()
        runner._begin(runner._engines)
        runner._forked, runner.may_measure = True, False  # children side by side would measure each other


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
