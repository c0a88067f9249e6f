"""A row of a measurement: a network on an engine, built, checked, and taken apart into the steps that are timed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rtseg.data.dataset import default_palette
from rtseg.deploy.drawing.overlay import overlay
from rtseg.deploy.engines import Engine, create_engine, parse_backend
from rtseg.deploy.graph import Graph
from rtseg.deploy.pixels import for_people
from rtseg.errors import UserError, first_line
from rtseg.speed.bench import Bench
from rtseg.speed.candidate import Case
from rtseg.speed.cost import count_bytes, count_macs, count_parameters, yardstick_ms
from rtseg.speed.frame import cell_candidates, count_kernels, folding, peak_memory
from rtseg.speed.memory import running_memory
from rtseg.speed.parity import Parity, measure_parity
from rtseg.speed.report import NetworkReport
from rtseg.speed.score import score
from rtseg.speed.timing import Step, Timing

_NETWORK = ("normalize + network", "network")  # how the stage is called, and with a stage of its own before it


class Row:
    """A case that is built and checked."""

    def __init__(self, case: Case, bench: Bench) -> None:
        self.case, self.bench = case, bench
        self.parity: Parity | None = None
        self.refused: str | None = None
        self.miou: float | None = None
        bench.building(f"{case.candidate.name}, {case.backend}, {'x'.join(map(str, case.shape))}")
        self.kind, self.precision = parse_backend(case.backend)
        self.engine = bench.reference(case)
        self.batches = bench.images.batches(case.shape, case.candidate.network.card)
        if self.engine.has_logits and not _finite(self.engine, self.batches[0]):
            self.refused = "the network's logits are not finite"
        elif self.kind is not type(self.engine):
            self._build_and_compare(self.engine)
        if self.parity is None and self.refused:
            return
        self.miou = self._score()

    def _build_and_compare(self, reference: Engine) -> None:
        """An engine that fails makes a refused row. An error of PyTorch itself is raised."""
        case, bench = self.case, self.bench
        calibrated = self.kind.precisions[self.precision].calibrated
        calibration, which = bench.images.calibration(case.shape) if calibrated else (None, "")
        try:
            self.engine = create_engine(
                case.backend,
                case.candidate.source(self.kind, case.shape),
                case.shape,
                device=bench.device,
                calibration=calibration,
            )
            self.parity = self._parity(reference)
        except Exception as error:  # whatever an engine raises, a plug-in's among them
            if self.kind.launches_kernels:
                raise
            name = "" if isinstance(error, UserError | RuntimeError) else f"{type(error).__name__}: "
            self.refused = f"{self.kind.backend} failed: {name}{first_line(error)}"
            return
        if which:
            self.engine.description["calibration"] = which
        if not self.parity.passed:
            self.refused = self.parity.refusal()

    def _parity(self, reference: Engine) -> Parity:
        return measure_parity(
            self.engine,
            reference,
            self.batches,
            trained=self.case.candidate.trained,
            least_percent=self.bench.conditions.min_parity,
        )

    def _score(self) -> float | None:
        dataset, candidate = self.bench.dataset, self.case.candidate
        if dataset is None or not candidate.trained or dataset[0].size != self.case.shape[1:] or self.case.shape[0] > 1:
            return None
        return score(self.engine, dataset)

    def figures(self) -> dict[str, Step]:
        """The headline, and the network alone."""
        run = _in_turn(self.engine.run, self.batches)
        if not self.engine.has_logits:
            return {"class_map": run}
        # An engine may write into the same memory again and again, so what it is given is made once and kept.
        prepared = [self.engine.prepare(images) for images in self.batches]
        return {"class_map": run, "network": _in_turn(self.engine.logits, prepared)}

    def parts(self) -> dict[str, Step]:
        """The stages of the headline but the network, which is a figure already, the copies between host and device,
        and the way from an image on the host to an overlay.
        """
        device, host = self.bench.device, [images.cpu() for images in self.batches]
        steps = {name: step for name, step in self.engine.stages(self.batches[0]).items() if name not in _NETWORK}
        if device.type != "cpu":
            classes = self.engine.run(self.batches[0]).clone()
            steps |= {"copy to device": lambda: host[0].to(device), "copy to host": lambda: classes.cpu()}
        card = self.case.candidate.network.card
        palette = default_palette(card.num_classes)

        def to_overlay(images: Tensor) -> None:
            for image, classes in zip(images, self.engine.run(images.to(device)).cpu(), strict=True):
                overlay(for_people(image.numpy(), card), classes.numpy(), palette)

        return {**steps, "overlay": _in_turn(to_overlay, host)}

    def report(self, figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> NetworkReport:
        """All that is known of the row; a refused row has no times."""
        candidate, (batch, height, width) = self.case.candidate, self.case.shape
        network, card, once = candidate.network, candidate.network.card, self.bench.once
        is_file = isinstance(network, Graph)
        facts = {} if isinstance(network, Graph) else network.facts()
        plain = self.kind.is_reference and self.kind.takes == "network"
        broken = self.refused is not None and self.parity is None  # what could not be built cannot be asked
        return NetworkReport(
            model=card.model,
            attention=card.attention,
            insert=card.to_dict()["insert"],
            num_classes=card.num_classes,
            weights=candidate.weights,
            backend=f"{self.kind.backend}:{self.precision}",
            engine={} if broken else {**self.engine.description, **facts},
            input_size=(height, width),
            batch_size=batch,
            parameters=None if is_file else once(count_parameters, candidate),
            macs=None if is_file else once(count_macs, candidate, (height, width)),
            batchnorm=None if is_file or plain or broken else once(folding, candidate, self.batches[0]),
            cell_candidates=None if broken else cell_candidates(self.engine, self.batches),
            parity=self.parity,
            refused=self.refused,
            miou=self.miou,
            class_map=figures.get("class_map"),
            network=figures.get("network"),
            stages=_stages(figures, parts),
            overlay=parts.get("overlay"),
            peak_memory_bytes=None if broken else self._memory(),
            yardstick_ms=self._yardstick() if parts and not is_file else None,
            file=self.bench.files[id(candidate)],
            kernels=None if broken else count_kernels(self.engine, self.batches[0]),
        )

    def _memory(self) -> int | None:
        if self.bench.device.type == "cuda":
            return peak_memory(self.engine, self.batches[0])
        if self.bench.device.type != "cpu" or not self.bench.memory:
            return None
        network = self.case.candidate.source(type(self.engine), self.case.shape)
        return running_memory(self.case.backend, network, self.batches[0], torch.get_num_threads())

    def _yardstick(self) -> float | None:
        """None for int8, whose products PyTorch cannot time."""
        dtype = self.kind.precisions[self.precision].dtype
        if dtype is None:
            return None
        batch, size, once = self.case.shape[0], self.case.shape[1:], self.bench.once
        moved = once(count_bytes, self.case.candidate, size, dtype.itemsize)
        return batch * yardstick_ms(once(count_macs, self.case.candidate, size), moved, self.bench.ceilings(dtype))


def _stages(figures: Mapping[str, Timing], parts: Mapping[str, Timing]) -> dict[str, Timing]:
    """In the order in which they run."""
    if not parts:
        return {}
    network = {} if "network" not in figures else {_NETWORK["normalize" in parts]: figures["network"]}
    order = ("copy to device", "normalize", *_NETWORK, "upsample", "argmax", "class map")
    known = {**parts, **network}
    known.pop("overlay")
    return {name: known[name] for name in (*order, *known) if name in known}


def _finite(reference: Engine, images: Tensor) -> bool:
    return bool(reference.logits(reference.prepare(images)).isfinite().all())


def _in_turn(function: Callable[[Tensor], Any], inputs: Sequence[Tensor]) -> Step:
    """A step that takes the next input each time."""
    turn = itertools.cycle(inputs)
    return lambda: function(next(turn))
