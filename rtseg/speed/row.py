"""A row of a measurement: a network on an engine, built, checked, and taken apart into the steps that are timed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from rtseg.data.dataset import SegmentationDataset, default_palette
from rtseg.deploy.class_map.cpu import class_map_cpu
from rtseg.deploy.engines import Engine, Shape, create_engine, parse_backend, reference_for
from rtseg.deploy.export import OnnxGraph, Output, export
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.deploy.overlay import overlay
from rtseg.models.network import Network
from rtseg.speed.cost import Ceilings, count_bytes, count_macs, count_parameters, measure_ceilings, yardstick_ms
from rtseg.speed.memory import running_memory
from rtseg.speed.parity import Parity, measure_parity
from rtseg.speed.report import UNTRAINED, NetworkReport, network_name
from rtseg.speed.score import score
from rtseg.speed.timing import Step, Timing

_NETWORK = ("normalize + network", "network")  # how the stage is called, and with a stage of its own before it


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to be measured, and what its weights are.

    Attributes:
        network: a segmenter, a network of another library, or an exported graph.
        weights: their hash, or `UNTRAINED`.
        trained: whether the class maps mean something, so that runtimes are held to them.
    """

    network: Network | OnnxGraph
    weights: str = UNTRAINED
    trained: bool = False

    @property
    def name(self) -> str:
        """Model and attention."""
        return network_name(self.network.card.model, self.network.card.attention)

    def source(self, kind: type[Engine], shape: Shape) -> Network | OnnxGraph:
        """What an engine of this class is built of."""
        return self.graph(shape, kind.output) if kind.takes == "graph" else self.network

    def graph(self, shape: Shape, output: Output) -> OnnxGraph:
        """Exported once for each shape and output."""
        if isinstance(self.network, OnnxGraph):
            return self.network
        if (shape, output) not in self._graphs:
            self._graphs[shape, output] = export(self.network, shape, output)
        return self._graphs[shape, output]

    @cached_property  # fills the dictionary of a frozen instance, which is not compared by value
    def _graphs(self) -> dict[tuple[Shape, Output], OnnxGraph]:
        return {}


@dataclass(frozen=True)
class Case:
    """One row to be measured: a network on an engine, with pictures of one shape."""

    candidate: Candidate
    backend: str
    shape: Shape


class Shared:
    """What rows have in common: the pictures of a shape, the reference of a network at a shape, its cost.

    Args:
        cases: all of them: an exported file is held against the network that it was made of, where that is among them.
        calibration: pictures for int8's ranges; `images` where there are none.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        device: torch.device,
        images: Sequence[np.ndarray],
        calibration: Sequence[np.ndarray],
        least_percent: float | None,
        dataset: SegmentationDataset | None,
        memory: bool,
        on_build: Callable[[str], None],
    ) -> None:
        self._originals = {
            case.candidate.weights: case.candidate.network
            for case in cases
            if case.candidate.trained and not isinstance(case.candidate.network, OnnxGraph)
        }
        self._calibration = calibration
        self.device = device
        self.images = images
        self.least_percent = least_percent
        self.dataset = dataset
        self.memory = memory
        self.on_build = on_build
        self._batches: dict[Shape, list[Tensor]] = {}
        self._facts: dict[tuple[Any, ...], Any] = {}
        self._ceilings: dict[torch.dtype, Ceilings] = {}
        self._references: dict[tuple[int, Shape], Engine] = {}

    def batches(self, shape: Shape) -> list[Tensor]:
        """(B, H, W, 3) uint8 on the device; each begins with another picture."""
        if shape not in self._batches:
            pictures = [_resize(image, shape) for image in self.images] or [texture(shape[1:])]
            # Where pictures are fewer than the batch, they come again, shifted.
            many = [
                np.roll(pictures[i % len(pictures)], 7 * (i // len(pictures)), axis=1)
                for i in range(shape[0] + len(pictures) - 1)
            ]
            self._batches[shape] = [
                torch.from_numpy(np.stack(many[i : i + shape[0]])).to(self.device) for i in range(len(pictures))
            ]
        return self._batches[shape]

    def calibration(self, shape: Shape) -> tuple[Tensor | None, str]:
        """(N, H, W, 3) uint8 pictures for int8, and which they are."""
        if self._calibration:
            pictures = np.stack([_resize(image, shape) for image in self._calibration])
            return torch.from_numpy(pictures), f"{len(pictures)} training pictures"
        if not self.images:
            return None, ""
        pictures = np.stack([_resize(image, shape) for image in self.images])
        return torch.from_numpy(pictures), f"the {len(pictures)} pictures that it is held to"

    def once(self, function: Callable[..., Any], candidate: Candidate, *arguments: Any) -> Any:
        """function(network, *arguments), for each network and arguments a single time."""
        key = (function, id(candidate), arguments)
        if key not in self._facts:
            self._facts[key] = function(candidate.network, *arguments)
        return self._facts[key]

    def ceilings(self, dtype: torch.dtype) -> Ceilings:
        """Of the device, measured once."""
        if dtype not in self._ceilings:
            self._ceilings[dtype] = measure_ceilings(self.device, dtype)
        return self._ceilings[dtype]

    def reference(self, case: Case) -> Engine:
        """Plain PyTorch; for an exported file without its checkpoint ONNX Runtime in float32."""
        key = (id(case.candidate), case.shape)
        if key not in self._references:
            network = self._originals.get(case.candidate.weights, case.candidate.network)
            self._references[key] = create_engine(reference_for(network), network, case.shape, device=self.device)
        return self._references[key]


class Row:
    """A case that is built and checked."""

    def __init__(self, case: Case, shared: Shared) -> None:
        self.case, self.shared = case, shared
        self.parity: Parity | None = None
        self.refused: str | None = None
        shared.on_build(f"{case.candidate.name}, {case.backend}, {'x'.join(map(str, case.shape))}")
        self.miou: float | None = None
        kind, precision = parse_backend(case.backend)
        reference = self.runtime = shared.reference(case)
        self.batches = shared.batches(case.shape)
        if reference.has_logits and not _finite(reference, self.batches[0]):
            self.refused = "the network's logits are not finite"
            return
        if kind is not type(reference):
            calibrated = kind.precisions[precision].calibrated
            calibration, which = shared.calibration(case.shape) if calibrated else (None, "")
            try:
                self.runtime = create_engine(
                    case.backend,
                    case.candidate.source(kind, case.shape),
                    case.shape,
                    device=shared.device,
                    calibration=calibration,
                )
                self.parity = self._parity(reference)
            except RuntimeError as error:
                # One engine's failure is no reason to lose the others' figures. PyTorch's own is the caller's.
                if kind.launches_kernels:
                    raise
                self.refused = f"{kind.backend} failed: {(str(error).splitlines() or ['without a word'])[0]}"
                return
            if which:
                self.runtime.description["calibration"] = which
            if not self.parity.passed:
                self.refused = self.parity.refusal()
        self.miou = self._score()

    def _parity(self, reference: Engine) -> Parity:
        return measure_parity(
            self.runtime,
            reference,
            self.batches,
            trained=self.case.candidate.trained,
            least_percent=self.shared.least_percent,
        )

    def _score(self) -> float | None:
        dataset, candidate = self.shared.dataset, self.case.candidate
        if dataset is None or not candidate.trained or dataset[0].size != self.case.shape[1:] or self.case.shape[0] > 1:
            return None
        return score(self.runtime, dataset)

    def figures(self) -> dict[str, Step]:
        """The headline, and the network alone."""
        run = _in_turn(self.runtime.run, self.batches)
        if not self.runtime.has_logits:
            return {"class_map": run}
        # An engine may write into the same memory again and again, so what it is given is made once and kept.
        prepared = [self.runtime.prepare(pictures) for pictures in self.batches]
        return {"class_map": run, "network": _in_turn(self.runtime.logits, prepared)}

    def parts(self) -> dict[str, Step]:
        """The stages of the headline but the network, which is a figure already, the copies between host and device,
        and the way from a picture on the host to an overlay.
        """
        device, host = self.shared.device, [pictures.cpu() for pictures in self.batches]
        steps = {name: step for name, step in self.runtime.stages(self.batches[0]).items() if name not in _NETWORK}
        if device.type != "cpu":
            classes = self.runtime.run(self.batches[0]).clone()
            steps |= {"copy to device": lambda: host[0].to(device), "copy to host": lambda: classes.cpu()}
        palette = default_palette(self.case.candidate.network.card.num_classes)

        def to_overlay(pictures: Tensor) -> None:
            for picture, classes in zip(pictures, self.runtime.run(pictures.to(device)).cpu(), strict=True):
                overlay(picture.numpy(), classes.numpy(), palette)

        return {**steps, "overlay": _in_turn(to_overlay, host)}

    def report(self, figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> NetworkReport:
        """Everything that is known of it; without times where it was refused."""
        candidate, (batch, height, width) = self.case.candidate, self.case.shape
        network, card, once = candidate.network, candidate.network.card, self.shared.once
        is_file = isinstance(network, OnnxGraph)
        facts = {} if isinstance(network, OnnxGraph) else network.facts()
        kind, precision = parse_backend(self.case.backend)
        plain = kind.is_reference and kind.takes == "network"
        broken = self.refused is not None and self.parity is None  # what could not be built cannot be asked
        return NetworkReport(
            model=card.model,
            attention=card.attention,
            num_classes=card.num_classes,
            weights=candidate.weights,
            backend=f"{kind.backend}:{precision}",
            engine={} if broken else {**self.runtime.description, **facts},
            input_size=(height, width),
            batch_size=batch,
            parameters=None if is_file else once(count_parameters, candidate),
            macs=None if is_file else once(count_macs, candidate, (height, width)),
            batchnorm=None if is_file or plain or broken else once(_folding, candidate, self.batches[0]),
            cell_candidates=None if broken else self._cell_candidates(),
            parity=self.parity,
            refused=self.refused,
            miou=self.miou,
            class_map=figures.get("class_map"),
            network=figures.get("network"),
            stages=_stages(figures, parts),
            overlay=parts.get("overlay"),
            peak_memory_bytes=None if broken else self._memory(),
            yardstick_ms=self._yardstick() if parts and not is_file else None,
            kernels=None if broken else _count_kernels(self.runtime, self.batches[0]),
        )

    def _memory(self) -> int | None:
        if self.shared.device.type == "cuda":
            return _peak_memory(self.runtime, self.batches[0])
        if self.shared.device.type != "cpu" or not self.shared.memory:
            return None
        network = self.case.candidate.source(type(self.runtime), self.case.shape)
        return running_memory(self.case.backend, network, self.batches[0], torch.get_num_threads())

    def _yardstick(self) -> float | None:
        """None for int8, whose products PyTorch cannot time."""
        kind, precision = parse_backend(self.case.backend)
        dtype = kind.precisions[precision].dtype
        if dtype is None:
            return None
        batch, size, once = self.case.shape[0], self.case.shape[1:], self.shared.once
        moved = once(count_bytes, self.case.candidate, size, dtype.itemsize)
        return batch * yardstick_ms(once(count_macs, self.case.candidate, size), moved, self.shared.ceilings(dtype))

    def _cell_candidates(self) -> float | None:
        if not self.runtime.has_logits or self.case.shape[0] > 1:
            return None
        seen = []
        for pictures in self.batches:  # one at a time: an engine may write all its logits into the same memory
            logits = self.runtime.logits(self.runtime.prepare(pictures))
            rows = logits.float().cpu().permute(0, 2, 3, 1).contiguous().numpy()
            seen.append(class_map_cpu(rows, self.case.shape[1:])[1])
        return float(np.mean(seen))


def _stages(figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> dict[str, Timing]:
    """In the order in which they run."""
    if not parts:
        return {}
    network = {} if "network" not in figures else {_NETWORK["normalize" in parts]: figures["network"]}
    order = ("copy to device", "normalize", *_NETWORK, "upsample", "argmax", "class map")
    known = {**parts, **network}
    known.pop("overlay")
    return {name: known[name] for name in (*order, *known) if name in known}


def _folding(network: Network, pictures: Tensor) -> dict[str, float]:
    """What folding BatchNorm does to the logits of a picture, nothing else changed."""
    as_trained, folded = (
        deploy(network, memory_format=torch.contiguous_format, fold=fold).float().cpu() for fold in (False, True)
    )
    before, after = (one.logits(one.prepare(pictures[:1].cpu())) for one in (as_trained, folded))
    left = count_batchnorm(folded)
    return {
        "folded": count_batchnorm(as_trained) - left,
        "left": left,
        "max_abs_difference": (before - after).abs().max().item(),
        "max_abs_logit": before.abs().max().item(),
    }


def _finite(reference: Engine, pictures: Tensor) -> bool:
    return bool(reference.logits(reference.prepare(pictures)).isfinite().all())


def _resize(image: np.ndarray, shape: Shape) -> np.ndarray:
    if image.shape[:2] == shape[1:]:
        return image
    # Where a picture shrinks the other filters would alias it into a texture.
    return cv2.resize(image, (shape[2], shape[1]), interpolation=cv2.INTER_AREA)


def _in_turn(function: Callable[[Tensor], Any], inputs: Sequence[Tensor]) -> Step:
    """A step that takes the next input each time."""
    turn = itertools.cycle(inputs)
    return lambda: function(next(turn))


def texture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: gradients, waves and noise, the same on every call."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [np.sin(x / 3**k + k) * np.cos(y / 2**k - k) for k in range(1, 4)]
    noise = np.random.default_rng(0).normal(0, 12, (*size, 3))
    picture = 128 + 40 * np.stack(waves, -1) + 50 * ((x + y) / (size[0] + size[1]) - 0.5)[..., None] + noise
    return picture.clip(0, 255).astype(np.uint8)


def _peak_memory(runtime: Engine, pictures: Tensor) -> int | None:
    """What one run allocates beyond everything that is resident, and the weights. Of eager PyTorch alone: a recorded
    graph allocates before it runs, and other engines' allocations are not seen here.
    """
    network = getattr(runtime, "network", None)
    if not runtime.launches_kernels or not isinstance(network, torch.nn.Module):
        return None
    torch.cuda.synchronize(pictures.device)
    torch.cuda.reset_peak_memory_stats(pictures.device)
    resident = torch.cuda.memory_allocated(pictures.device)
    runtime.run(pictures)
    torch.cuda.synchronize(pictures.device)
    return torch.cuda.max_memory_allocated(pictures.device) - resident + sum(p.nbytes for p in network.parameters())


def _count_kernels(runtime: Engine, pictures: Tensor) -> int | None:
    if pictures.device.type != "cuda":
        return None
    runtime.run(pictures)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        runtime.run(pictures)
        torch.cuda.synchronize(pictures.device)
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in kernels)
