"""What a measurement found: a row for each network, engine and size, with the conditions that all of them share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from rtseg.models.backbone import NO_ATTENTION
from rtseg.output.json_file import parse_json
from rtseg.speed.doubts import Doubts, Figure
from rtseg.speed.parity import Parity
from rtseg.speed.timing import Timing

_LARGEST = 1e300  # sums and percentages of it are still numbers
UNTRAINED = "random (untrained)"
PROTOCOL = {
    "class_map": "uint8 image on the device -> normalise, network, bilinear to input size, argmax -> class map on it",
    "network": "normalised image on the device -> logits at the network's stride on the device; where the graph "
    "normalises (stage 'normalize + network'), from the uint8 image",
    "overlay": "uint8 image on the host -> class map in colours over the image, on the host",
    "parity": "share of pixels equal to plain float32 PyTorch's; a row below the threshold is not timed",
}


@dataclass(frozen=True)
class NetworkReport:
    """One row's figures.

    Attributes:
        file: the file or folder that the network was read from, as short as tells it from the others of the report;
            empty where it was made by name.
        engine: what the engine says of itself.
        parameters: of inference, the auxiliary head left out, BatchNorm as trained. None for an exported file.
        macs: multiply-adds of one image up to the logits, attention products counted. None for an exported file.
        batchnorm: how many were folded and left, and how far the logits of an image moved by it; None where nothing
            was folded.
        cell_candidates: classes that the class map looks at in a cell of four logits, on average.
        parity: None for the reference that the others are compared with.
        refused: why there are no times; None where there are.
        miou: of this very row on a data set's images, 0..1, where one was given.
        network: None where the engine gives class maps alone.
        stages: parts of `class_map`, each timed apart, and the copies between host and device on CUDA.
        overlay: from an image on the host to the overlay on it.
        insert: place -> attentions that are inserted there.
        peak_memory_bytes: weights and activations of one run; on a CPU where it was asked for.
        yardstick_ms: what the network alone would take at the speed of PyTorch's matrix product and of a large copy on
            this device, see `rtseg.speed.cost`.
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
    yardstick_ms: float | None = None
    file: str = ""
    insert: dict[str, Any] = field(default_factory=dict)

    @property
    def network_name(self) -> str:
        """Model, its attention where it has one, and what is inserted."""
        return network_name(self.model, self.attention, self.insert)

    @property
    def label(self) -> str:
        """The network's name, and its file where it has one."""
        return ", ".join(filter(None, (self.network_name, self.file)))

    @property
    def shape(self) -> str:
        """Height and width of the images, and the batch size where it is not 1."""
        height, width = self.input_size
        return f"{height}x{width}" + (f", batch {self.batch_size}" if self.batch_size > 1 else "")

    @property
    def name(self) -> str:
        """Network, engine and size: no two rows of a report share it."""
        return f"{self.label}, {self.backend}, {self.shape}"


@dataclass(frozen=True)
class Report:
    """Figures from one interleaved run, and the conditions that all of them share (plain JSON types)."""

    conditions: dict[str, Any]
    networks: tuple[NetworkReport, ...]
    ddrnet_protocol: tuple[dict[str, Any], ...] = ()  # the same networks as DDRNet's repository times them

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "protocol": PROTOCOL,
                **asdict(self),
                "busy": self.doubted().busy(),
                "doubts": self.doubts(),
                "launch_bound": self.launch_bound(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the text is none, or of another version, or somebody has
                put something else in the place of a number or a text.
        """
        found = parse_json(text, "the report")
        _check_numbers(found)
        rows = []
        for row in found["networks"]:
            timings = {key: row[key] and Timing(**row[key]) for key in ("class_map", "network", "overlay")}
            stages = {name: Timing(**timing) for name, timing in row["stages"].items()}
            parity = row["parity"] and Parity(**row["parity"])
            height, width = row["input_size"]
            rows.append(
                NetworkReport(**row | timings | {"stages": stages, "parity": parity, "input_size": (height, width)})
            )
            for figures in (rows[-1], parity, *timings.values(), *stages.values()):
                _check_types(figures)
        return cls(found["conditions"], tuple(rows), tuple(found["ddrnet_protocol"]))

    def doubts(self) -> list[str]:
        """Why the figures may not repeat: each doubt of each figure. A table says them shorter, see `Doubts`."""
        return self.doubted().every()

    def doubted(self) -> Doubts:
        """The doubts, to be marked in a table."""
        times = [(row, (("class map", row.class_map), ("network", row.network))) for row in self.networks]
        figures = [Figure(row.name, what, timing) for row, own in times for what, timing in own if timing]
        return Doubts(self.conditions, figures)

    def launch_bound(self) -> list[str]:
        """Rows in eager PyTorch whose time is that of launching kernels.

        As a CUDA graph they take less than two thirds of the time. Their figure says little about the network.
        """
        times: dict[tuple[Any, ...], float] = {}
        for row in self.networks:
            if row.class_map:
                what = (row.model, row.attention, row.weights, row.file, row.input_size, row.batch_size)
                times[*what, row.backend] = row.class_map.median_ms
        found = []
        for (*of, backend), eager in times.items():
            engine, _, precision = backend.partition(":")
            graph = times.get((*of, f"cudagraph:{precision}"))
            if engine == "eager" and graph and eager > 1.5 * graph:
                found.append(f"{of[0]} {of[1]}, {backend}: {eager:.2f} ms, {graph:.2f} ms as a CUDA graph")
        return found


def _check_numbers(content: Any) -> None:
    """Raises: ValueError where a number is not finite, as JSON cannot say but Python reads."""
    if isinstance(content, (dict, list)):
        for part in content.values() if isinstance(content, dict) else content:
            _check_numbers(part)
    elif isinstance(content, (int, float)) and not abs(content) <= _LARGEST:
        raise ValueError("a number is not finite, or beyond all that is measured")


def _check_types(figures: NetworkReport | Parity | Timing | None) -> None:
    """Raises: TypeError where a field does not hold what its annotation says."""
    for name, kind in get_type_hints(type(figures)).items() if figures else ():
        value = getattr(figures, name)
        kinds = [get_origin(k) or k for k in (get_args(kind) if isinstance(kind, UnionType) else [kind])]
        if type(value) is int and float in kinds:
            continue
        parts = value if isinstance(value, tuple) else ()
        if type(value) not in kinds or not all(type(part) is int and part > 0 for part in parts):
            raise TypeError(f"{name}={value!r}")


def network_name(model: str, attention: str, insert: Mapping[str, Sequence[str]]) -> str:
    """The model, its attention where it has one, and what is inserted, as in "ddrnet_23 stage5=fa"."""
    inserted = [f"{place}={' '.join(attentions)}" for place, attentions in insert.items()]
    return " ".join([model, *([] if attention == NO_ATTENTION else [attention]), *inserted])
