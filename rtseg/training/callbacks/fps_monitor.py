"""A callback that measures how fast the network in training will run once deployed, and logs it beside its accuracy."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.seed import isolate_rng

from rtseg.checks import check_above
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import Candidate, Conditions, benchmark, cases
from rtseg.terminal import counted, say
from rtseg.training.callbacks.decoration import Decoration
from rtseg.training.callbacks.stop import is_stopping


def _where(facts: dict[str, Any], device: torch.device) -> str:
    """'AMD EPYC, 1 of 2 threads', or the name of a GPU."""
    if "threads" in facts:
        return f"{facts['name']}, {facts['threads']} of {facts['cores']} threads"
    return f"{facts['name']} ({device})"


class FPSMonitor(Decoration):
    """Times inference with `rtseg.speed.benchmark`, when training starts and when it ends, on rank zero.

    Logs `speed/fps` and `speed/latency_ms` (image on the device -> class map at input size, eager, BatchNorm folded)
    and `speed/network_fps` (logits only), and writes the whole report with its conditions to
    `speed.json` beside the log. A copy of the network is timed: weights, train mode, gradients, random states, threads
    and memory of the training stay as they are.

    Nothing is measured under `trainer.fast_dev_run`, which only tries whether a training runs, nor said after Ctrl-C.

    Args:
        input_size: (height, width); None takes the model card's, which is the crop size of the training data.
        device: where to measure, e.g. "cpu" for a network trained on a GPU; None takes the training device.
        batch_size: images in one run.
        seconds: for each of the two figures, on each of the two occasions; warming up takes a third more.
        enabled: whether to measure at all.
    """

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        device: str | None = None,
        batch_size: int = 1,
        seconds: float = 2.0,
        enabled: bool = True,
    ) -> None:
        check_above("FPSMonitor: seconds", seconds, 0)
        self.input_size = input_size
        conditions = Conditions(
            batches=[batch_size],
            seconds=seconds,
            most_seconds=seconds,
            warmup_seconds=seconds / 3,
            device=device,
        )
        self.conditions = conditions if input_size is None else replace(conditions, sizes=[input_size])
        self.enabled = enabled

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises: UserError: nobody says which input size to time."""
        if self.enabled:
            self._size(cast(Segmenter, pl_module.segmenter))

    # Not on_fit_start: a resumed run does not know its step yet. Nor on_fit_end: the loggers are closed by then.
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.enabled or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            if trainer.is_global_zero and not is_stopping(trainer):
                self._measure_here(trainer, pl_module)
        finally:  # the others wait, else they would train on meanwhile, on the same processor
            trainer.strategy.barrier("FPSMonitor")

    def _measure_here(self, trainer: Trainer, pl_module: LightningModule) -> None:
        segmenter = cast(Segmenter, pl_module.segmenter)
        device = pl_module.device if self.conditions.device is None else self.conditions.where
        height, width = self._size(segmenter)
        with isolate_rng():
            conditions = replace(self.conditions, sizes=[(height, width)], device=device)
            report = benchmark(cases([Candidate(segmenter, "in training")], ["eager"], conditions), conditions)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if is_stopping(trainer):
            return
        (row,) = report.networks
        headline, network = row.class_map, row.network
        if headline is None or network is None:
            say(f"Speed: not measured, {row.refused}")
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                Path(logger.log_dir).mkdir(parents=True, exist_ok=True)
                Path(logger.log_dir, "speed.json").write_text(report.to_json() + "\n")
            logger.log_metrics(
                {"speed/fps": headline.fps, "speed/latency_ms": headline.median_ms, "speed/network_fps": network.fps},
                trainer.global_step,
            )
        doubts, batch = len(report.doubts()), f", batch {row.batch_size}" if row.batch_size > 1 else ""
        caution = f" ({counted(doubts, 'doubt')}: see speed.json)" if doubts else ""
        say(
            f"Speed: {headline.fps:.1f} FPS ({headline.median_ms:.1f} ms) from image to class map, "
            f"{height}x{width}{batch}, {_where(report.conditions['device'], device)}{caution}"
        )

    def _size(self, segmenter: Segmenter) -> tuple[int, int]:
        size = self.input_size or segmenter.card.input_size
        if size is None:
            raise UserError("FPSMonitor does not know the input size: set input_size to (height, width)")
        return size[0], size[1]
