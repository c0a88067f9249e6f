"""Speed that can be believed: what networks need for a picture on one or more engines, side by side, with conditions.

docs/benchmark.md is the protocol. Everything that reports a speed comes here: `rtseg benchmark`, `rtseg compare`, the
training callback and the tests.
"""

import itertools
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import rtseg
from rtseg.data.dataset import SegmentationDataset, default_palette
from rtseg.deploy.class_map_cpu import class_map_cpu
from rtseg.deploy.device import choose_device, describe_device
from rtseg.deploy.export import OnnxGraph, Output, export
from rtseg.deploy.floor import Ceilings, count_bytes, floor_ms, measure_ceilings
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.deploy.memory import running_memory
from rtseg.deploy.overlay import overlay
from rtseg.deploy.parity import Parity, measure_parity
from rtseg.deploy.protocols import ddrnet_protocol
from rtseg.deploy.rivals import Network
from rtseg.deploy.runtime import DTYPES, Runtime, Shape, create_runtime, parse_backend
from rtseg.deploy.score import score
from rtseg.deploy.timing import Step, Timing, measure, measure_together
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION

__all__ = ["Candidate", "Case", "NetworkReport", "Report", "Timing", "benchmark", "count_macs", "measure"]

UNTRAINED = "random (untrained)"
PROTOCOL = {
    "class_map": "uint8 picture on the device -> normalise, network, bilinear to input size, argmax -> class map on it",
    "network": "normalised image on the device -> logits at the network's stride on the device; where the graph "
    "normalises (stage 'normalize + network'), from the uint8 picture",
    "overlay": "uint8 picture on the host -> class map in colours over the picture, on the host",
    "parity": "share of pixels equal to plain float32 PyTorch's; a row below the threshold is not timed",
}


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
        return _name(self.network.card.model, self.network.card.attention)

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


@dataclass(frozen=True)
class NetworkReport:
    """One row's figures.

    Attributes:
        engine: what the runtime says of itself.
        parameters: of inference, the auxiliary head left out, BatchNorm as trained. None for an exported file.
        macs: multiply-adds of one picture up to the logits, attention products counted. None for an exported file.
        batchnorm: how many were folded and left, and how far the logits of a picture moved by it; None where nothing
            was folded.
        cell_candidates: classes that the class map looks at in a cell of four logits, on average.
        parity: None for the reference itself.
        refused: why there are no times; None where there are.
        miou: of this very row on a data set's pictures, 0..1, where one was given.
        network: None where the engine gives class maps alone.
        stages: parts of `class_map`, each timed apart, and the copies between host and device on CUDA.
        overlay: from a picture on the host to the overlay on it.
        peak_memory_bytes: weights and activations of one run; on a CPU where it was asked for.
        floor_ms: what the network alone would take at the device's own speed of computing and moving, see
            `rtseg.deploy.floor`.
        kernels: launched for one frame, on CUDA.
    """

    model: str
    attention: str
    num_classes: int
    weights: str
    backend: str
    engine: dict[str, Any]
    input_size: tuple[int, int]
    batch_size: int
    parameters: int | None
    macs: int | None
    batchnorm: dict[str, float] | None = None
    cell_candidates: float | None = None
    parity: Parity | None = None
    refused: str | None = None
    miou: float | None = None
    class_map: Timing | None = None
    network: Timing | None = None
    stages: dict[str, Timing] = field(default_factory=dict)
    overlay: Timing | None = None
    peak_memory_bytes: int | None = None
    kernels: int | None = None
    floor_ms: float | None = None

    @property
    def network_name(self) -> str:
        """Model, and its attention where it has one."""
        return _name(self.model, self.attention)

    @property
    def name(self) -> str:
        """Network, engine and size."""
        height, width = self.input_size
        batch = f", batch {self.batch_size}" if self.batch_size > 1 else ""
        return f"{self.network_name}, {self.backend}, {height}x{width}{batch}"


@dataclass(frozen=True)
class Report:
    """Figures from one interleaved run, and the conditions that all of them share (plain JSON types)."""

    conditions: dict[str, Any]
    networks: tuple[NetworkReport, ...]
    ddrnet_protocol: tuple[dict[str, Any], ...] = ()  # the same networks as DDRNet's repository times them

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {"protocol": PROTOCOL, **asdict(self), "doubts": self.doubts(), "launch_bound": self.launch_bound()}
        )

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the text is none, or of another version.
        """
        found = json.loads(text)
        rows = []
        for row in found["networks"]:
            timings = {key: row[key] and Timing(**row[key]) for key in ("class_map", "network", "overlay")}
            stages = {name: Timing(**timing) for name, timing in row["stages"].items()}
            parity = row["parity"] and Parity(**row["parity"])
            size = (row["input_size"][0], row["input_size"][1])
            rows.append(NetworkReport(**row | timings | {"stages": stages, "parity": parity, "input_size": size}))
        return cls(found["conditions"], tuple(rows), tuple(found["ddrnet_protocol"]))

    def doubts(self) -> list[str]:
        """Why the figures may not repeat: other work on the machine, drift, or a wide spread."""
        device = self.conditions["device"]
        found = []
        if (busy := device.get("cores_busy_with_other_work", 0)) > 0.3:
            found.append(f"other work kept {busy} cores of this machine busy before the start")
        for row in self.networks:
            for what, timing in (("class map", row.class_map), ("network", row.network)):
                if timing and abs(timing.drift) > 0.1:
                    found.append(f"{row.name}, {what}: drifted by {timing.drift:+.0%} during the run")
                if timing and timing.p95_ms > 1.5 * timing.median_ms:
                    found.append(f"{row.name}, {what}: unsteady, p95 / median above 1.5")
        return found

    def launch_bound(self) -> list[str]:
        """Rows in eager PyTorch whose time is that of launching kernels: replayed as a CUDA graph they are quicker by
        half. Their figure says little of the network.
        """
        times: dict[tuple[Any, ...], float] = {}
        for row in self.networks:
            if row.class_map:
                what = (row.model, row.attention, row.weights, row.input_size, row.batch_size)
                times[*what, row.backend] = row.class_map.median_ms
        found = []
        for (*of, backend), eager in times.items():
            engine, _, precision = backend.partition(":")
            graph = times.get((*of, f"cudagraph:{precision}"))
            if engine == "eager" and graph and eager > 1.5 * graph:
                found.append(f"{of[0]} {of[1]}, {backend}: {eager:.2f} ms, {graph:.2f} ms as a CUDA graph")
        return found


def _name(model: str, attention: str) -> str:
    return model if attention == NO_ATTENTION else f"{model} {attention}"


def cases(
    candidates: Iterable[Candidate],
    input_sizes: Sequence[tuple[int, int]] = ((512, 512),),
    backends: Sequence[str] = ("eager",),
    batch_sizes: Sequence[int] = (1,),
) -> list[Case]:
    """All combinations; of an exported graph only those that it can run.

    Raises:
        UserError: an exported graph and none of its backends or sizes.
    """
    found = []
    for candidate in candidates:
        own = [
            Case(candidate, backend, (batch, *size))
            for size, batch, backend in itertools.product(input_sizes, batch_sizes, backends)
        ]
        if isinstance(graph := candidate.network, OnnxGraph):
            own = [c for c in own if parse_backend(c.backend)[0].output == graph.output and c.shape == graph.shape]
            if not own:
                size = "x".join(map(str, graph.shape))
                raise UserError(
                    f"{graph.name} is of {size} (batch x height x width) and puts out {graph.output}: ask for this "
                    "--input-size and --batch-size, and for a backend that reads such files"
                )
        found += own
    return found


def benchmark(
    cases: Sequence[Case],
    *,
    device: str | torch.device | None = None,
    threads: int | None = None,
    images: Sequence[np.ndarray] = (),
    least_percent: float | None = None,
    stages: bool = False,
    dataset: SegmentationDataset | None = None,
    memory: bool = False,
    ddrnet_seconds: float | None = None,
    on_build: Callable[[str], None] | None = None,
    **timing: Any,
) -> Report:
    """Measures rows side by side. Copies are measured; thread count and cuDNN's mode are put back afterwards.

    Args:
        threads: on the CPU, of every engine; None leaves PyTorch's.
        images: (H, W, 3) uint8 RGB, resized to each row's input size and taken in turn; none takes a drawn texture.
        least_percent: share of equal pixels below which a row is not timed, instead of the thresholds of
            `rtseg.deploy.parity`.
        stages: also time the parts of each row, and the way to an overlay.
        dataset: also score the rows of trained networks of its classes, at batch 1.
        memory: also measure what rows on a CPU hold, in a process for each.
        ddrnet_seconds: also time each network as DDRNet's repository does, for so long; see `rtseg.deploy.protocols`.
        on_build: is told what is built and checked next.
        timing: passed on to `measure_together`.

    Raises:
        UserError: a bad device, size or number; a backend that cannot be had here.
    """
    device = choose_device(device)
    for case in cases:
        kind, precision = parse_backend(case.backend)
        kind.check(precision, device)
        for name, value in zip(("batch size", "height", "width"), case.shape, strict=True):
            if value < 1:
                raise UserError(f"{name} {value} must be at least 1")
    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} must be at least 1")
    with _settings(threads), torch.inference_mode():
        described = describe_device(device)  # first of all: the load is that of other work
        shared = _Shared(device, images, least_percent, dataset, memory, on_build or (lambda _: None))
        rows = [_Row(case, shared) for case in cases]
        timed = [row for row in rows if not row.refused]
        figures = _measure(timed, _Row.figures, device, **timing)
        parts: list[dict[str, Timing]] = [{} for _ in timed]
        if stages:
            seconds = timing.get("min_seconds", 6.0) / 3
            quick = {
                **timing,
                "min_seconds": seconds,
                "max_seconds": 2 * seconds or timing.get("max_seconds"),
                "min_iterations": 50,
            }
            parts = _measure(timed, _Row.parts, device, **quick)
        conditions = {
            "device": described,
            "rtseg": rtseg.__version__,
            "torch": torch.__version__,
            "tf32": _tf32() if device.type == "cuda" else None,
            "cudnn_benchmark": torch.backends.cudnn.benchmark if device.type == "cuda" else None,
            "input": f"{len(images)} given picture(s)" if images else "drawn texture",
            "git_commit": _git_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        published = () if ddrnet_seconds is None else _ddrnet(cases, device, ddrnet_seconds)
        measured = {id(row): (own, part) for row, own, part in zip(timed, figures, parts, strict=True)}
        reports = tuple(row.report(*measured.get(id(row), ({}, {}))) for row in rows)
        return Report(conditions, reports, published)


def _measure(
    rows: Sequence["_Row"], steps: Callable[["_Row"], Mapping[str, Step]], device: torch.device, **timing: Any
) -> list[dict[str, Timing]]:
    """Steps of all rows in turns: for each row name -> time."""
    named = [steps(row) for row in rows]
    if not any(named):
        return [{} for _ in rows]
    batches = [row.case.shape[0] for row, own in zip(rows, named, strict=True) for _ in own]
    flat = [step for own in named for step in own.values()]
    timings = iter(measure_together(flat, device=device, batch_size=batches, **timing))
    return [{name: next(timings) for name in own} for own in named]


def _ddrnet(cases: Sequence[Case], device: torch.device, seconds: float) -> tuple[dict[str, Any], ...]:
    """Once for each network and size."""
    wanted = {(id(case.candidate), case.shape[1:]): case for case in cases}
    return tuple(
        {
            "network": case.candidate.name,
            "input_size": list(size),
            **ddrnet_protocol(case.candidate.network, size, device, seconds=seconds),
        }
        for (_, size), case in wanted.items()
        if not isinstance(case.candidate.network, OnnxGraph)
    )


class _Shared:
    """What rows have in common: the pictures of a shape, the reference of a network at a shape, its cost."""

    def __init__(
        self,
        device: torch.device,
        images: Sequence[np.ndarray],
        least_percent: float | None,
        dataset: SegmentationDataset | None,
        memory: bool,
        on_build: Callable[[str], None],
    ) -> None:
        self.device = device
        self.images = images
        self.least_percent = least_percent
        self.dataset = dataset
        self.memory = memory
        self.on_build = on_build
        self._batches: dict[Shape, list[Tensor]] = {}
        self._ceilings: dict[torch.dtype, Ceilings] = {}
        self._references: dict[tuple[int, Shape], Runtime] = {}

    def batches(self, shape: Shape) -> list[Tensor]:
        """(B, H, W, 3) uint8 on the device; each begins with another picture."""
        if shape not in self._batches:
            size = shape[1:]
            # INTER_AREA where a picture shrinks: the other filters would alias it into a texture
            pictures = [
                image if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
                for image in self.images
            ] or [texture(size)]
            # Where pictures are fewer than the batch, they come again, shifted.
            many = [
                np.roll(pictures[i % len(pictures)], 7 * (i // len(pictures)), axis=1)
                for i in range(shape[0] + len(pictures) - 1)
            ]
            self._batches[shape] = [
                torch.from_numpy(np.stack(many[i : i + shape[0]])).to(self.device) for i in range(len(pictures))
            ]
        return self._batches[shape]

    def ceilings(self, dtype: torch.dtype) -> Ceilings:
        """Of the device, measured once."""
        if dtype not in self._ceilings:
            self._ceilings[dtype] = measure_ceilings(self.device, dtype)
        return self._ceilings[dtype]

    def reference(self, case: Case) -> Runtime:
        """Plain PyTorch; for an exported file ONNX Runtime in float32."""
        key = (id(case.candidate), case.shape)
        if key not in self._references:
            network = case.candidate.network
            plain = "reference"
            if isinstance(network, OnnxGraph):
                plain = "onnxruntime" if network.output == "logits" else "onnxruntime-plain"
            self._references[key] = create_runtime(plain, network, case.shape, device=self.device)
        return self._references[key]


class _Row:
    """A case that is built and checked."""

    def __init__(self, case: Case, shared: _Shared) -> None:
        self.case, self.shared = case, shared
        self.parity: Parity | None = None
        self.refused: str | None = None
        shared.on_build(f"{case.candidate.name}, {case.backend}, {'x'.join(map(str, case.shape))}")
        kind, _ = parse_backend(case.backend)
        network = case.candidate.network
        reference = shared.reference(case)
        self.batches = shared.batches(case.shape)
        if case.backend.partition(":")[0] == reference.backend and not isinstance(network, OnnxGraph):
            self.runtime = reference
            self.miou = self._score()
            return
        output = kind.output
        self.runtime = create_runtime(
            case.backend,
            case.candidate.graph(case.shape, output) if output else network,
            case.shape,
            device=shared.device,
            calibration=torch.cat(self.batches).cpu(),
        )
        self.parity = measure_parity(
            self.runtime,
            reference,
            self.batches,
            trained=case.candidate.trained,
            least_percent=shared.least_percent,
        )
        if not self.parity.passed:
            self.refused = self.parity.refusal()
        self.miou = self._score()

    def _score(self) -> float | None:
        dataset, candidate = self.shared.dataset, self.case.candidate
        classes = candidate.network.card.num_classes
        if dataset is None or not candidate.trained or self.case.shape[0] > 1 or len(dataset.labels.names) != classes:
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
        """The stages of the headline, and the way from a picture on the host to an overlay."""
        steps = self.runtime.stages(self.batches[0])
        steps.pop("network", None)  # is a figure already
        steps.pop("normalize + network", None)
        device, host = self.shared.device, [pictures.cpu() for pictures in self.batches]
        if device.type != "cpu":
            classes = self.runtime.run(self.batches[0]).clone()
            steps = {"copy to device": lambda: host[0].to(device), **steps, "copy to host": lambda: classes.cpu()}
        palette = default_palette(self.case.candidate.network.card.num_classes)

        def to_overlay(pictures: Tensor) -> None:
            for picture, classes in zip(pictures, self.runtime.run(pictures.to(device)).cpu(), strict=True):
                overlay(picture.numpy(), classes.numpy(), palette)

        return {**steps, "overlay": _in_turn(to_overlay, host)}

    def report(self, figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> NetworkReport:
        candidate, (batch, height, width) = self.case.candidate, self.case.shape
        network, card = candidate.network, candidate.network.card
        own = None if isinstance(network, OnnxGraph) else network
        return NetworkReport(
            model=card.model,
            attention=card.attention,
            num_classes=card.num_classes,
            weights=candidate.weights,
            backend=self.runtime.name,
            engine=self.runtime.description,
            input_size=(height, width),
            batch_size=batch,
            parameters=count_parameters(own) if own else None,
            macs=count_macs(own, (height, width)) if own else None,
            batchnorm=self._batchnorm(own) if own else None,
            cell_candidates=self._cell_candidates(),
            parity=self.parity,
            refused=self.refused,
            miou=self.miou,
            class_map=figures.get("class_map"),
            network=figures.get("network"),
            stages=self._stages(figures, parts),
            overlay=parts.get("overlay"),
            peak_memory_bytes=self._memory(),
            floor_ms=self._floor(own) if own and parts else None,
            kernels=_count_kernels(self.runtime, self.batches[0]),
        )

    def _stages(self, figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> dict[str, Timing]:
        if not parts:
            return {}
        names = list(self.runtime.stages(self.batches[0]))
        known = {**parts, **{name: figures["network"] for name in names if name.endswith("network")}}
        order = [name for name in parts if name.startswith("copy to device")] + names
        order += [name for name in parts if name.startswith("copy to host")]
        return {name: known[name] for name in order}

    def _batchnorm(self, network: Network) -> dict[str, float] | None:
        """What folding does to the logits of a picture, nothing else changed."""
        if self.runtime.backend == "reference":
            return None
        as_trained, folded = (
            deploy(network, memory_format=torch.contiguous_format, fold=fold).float().cpu() for fold in (False, True)
        )
        pictures = self.batches[0][:1].cpu()
        before, after = (one.logits(one.prepare(pictures)) for one in (as_trained, folded))
        left = count_batchnorm(folded)
        return {
            "folded": count_batchnorm(as_trained) - left,
            "left": left,
            "max_abs_difference": (before - after).abs().max().item(),
            "max_abs_logit": before.abs().max().item(),
        }

    def _memory(self) -> int | None:
        if self.shared.device.type == "cuda":
            return _peak_memory(self.runtime, self.batches[0])
        if self.shared.device.type != "cpu" or not self.shared.memory:
            return None
        candidate, output = self.case.candidate, self.runtime.output
        network = candidate.graph(self.case.shape, output) if output else candidate.network
        return running_memory(self.case.backend, network, self.batches[0], torch.get_num_threads())

    def _floor(self, network: Network) -> float | None:
        """None for int8, whose products PyTorch cannot time."""
        dtype = DTYPES.get(self.runtime.precision)
        if dtype is None:
            return None
        batch, *size = self.case.shape
        moved = count_bytes(network, (size[0], size[1]), dtype.itemsize)
        return batch * floor_ms(count_macs(network, (size[0], size[1])), moved, self.shared.ceilings(dtype))

    def _cell_candidates(self) -> float | None:
        if not self.runtime.has_logits or self.case.shape[0] > 1:
            return None
        seen = []
        for pictures in self.batches:  # one at a time: an engine may write all its logits into the same memory
            logits = self.runtime.logits(self.runtime.prepare(pictures))
            rows = logits.float().cpu().permute(0, 2, 3, 1).contiguous().numpy()
            seen.append(class_map_cpu(rows, self.case.shape[1:])[1])
        return float(np.mean(seen))


def _in_turn(function: Callable[[Tensor], Any], inputs: Sequence[Tensor]) -> Step:
    """A step that takes the next input each time."""
    turn = itertools.cycle(inputs)
    return lambda: function(next(turn))


@contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """The input size is fixed, so cuDNN may search for its fastest algorithms."""
    own_threads, own_mode = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = True
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.backends.cudnn.benchmark = own_mode
        torch.set_num_threads(own_threads)


def texture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: gradients, waves and noise, the same on every call."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [np.sin(x / 3**k + k) * np.cos(y / 2**k - k) for k in range(1, 4)]
    noise = np.random.default_rng(0).normal(0, 12, (*size, 3))
    picture = 128 + 40 * np.stack(waves, -1) + 50 * ((x + y) / (size[0] + size[1]) - 0.5)[..., None] + noise
    return picture.clip(0, 255).astype(np.uint8)


def count_parameters(segmenter: Network) -> int:
    """Of inference: the auxiliary head left out, BatchNorm not folded."""
    return sum(p.numel() for name, p in segmenter.named_parameters() if not name.startswith("aux_head."))


def count_macs(segmenter: Network, input_size: tuple[int, int]) -> int:
    """Multiply-adds of convolutions, linear maps and attention products from one picture to the logits."""
    shapes_only = deploy(segmenter, fold=False).segmenter.to("meta")
    image = torch.empty(1, 3, *input_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        shapes_only.logits(image.to(next(shapes_only.parameters()).dtype))
    return counter.get_total_flops() // 2


def _peak_memory(runtime: Runtime, pictures: Tensor) -> int | None:
    """What one run allocates beyond everything that is resident, and the weights. Of PyTorch's engines alone: the
    allocations of others are not seen here.
    """
    if pictures.device.type != "cuda" or not isinstance(network := getattr(runtime, "network", None), torch.nn.Module):
        return None
    torch.cuda.synchronize(pictures.device)
    torch.cuda.reset_peak_memory_stats(pictures.device)
    resident = torch.cuda.memory_allocated(pictures.device)
    runtime.run(pictures)
    torch.cuda.synchronize(pictures.device)
    return torch.cuda.max_memory_allocated(pictures.device) - resident + sum(p.nbytes for p in network.parameters())


def _count_kernels(runtime: Runtime, pictures: Tensor) -> int | None:
    if pictures.device.type != "cuda":
        return None
    runtime.run(pictures)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        runtime.run(pictures)
        torch.cuda.synchronize(pictures.device)
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in kernels)


def _tf32() -> dict[str, bool]:
    return {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}


def _git_commit() -> str | None:
    """Of the checkout that this very file belongs to, with '+changes' where it was edited since."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


@contextmanager
def timing_progress(
    description: str, console: Console
) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A bar for `on_build` and `on_progress` of `benchmark`; while the clock runs it moves between the turns alone."""
    with Progress(console=console) as progress:
        bar = progress.add_task(description, total=1.0)

        def on_build(what: str) -> None:
            progress.update(bar, description=f"building {what}")

        def on_progress(share: float) -> None:
            progress.update(bar, completed=share, description=f"timing {description}")

        yield on_build, on_progress
