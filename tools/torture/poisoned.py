"""Trainings that become NaN or infinite: each stops with a sentence, finite weights on disk and a step to replay.

By rates, precisions, losses, class weights, heads, weights and statistics; by one of two processes; in pre-training.
Where `model.nonfinite=skip` leaves few steps out, the training ends well and has counted them.
"""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.torture.outcome import Outcome
from tools.torture.processes import run_apart
from tools.torture.trainings import Training, draw_data, finish, last_line

HEAD = '''"""A head whose logits overflow."""
from collections.abc import Mapping

from torch import Tensor, nn

from rtseg.models.backbone import FeatureInfo
from rtseg.models.heads import Head, register_head


@register_head("overflowing")
class Overflowing(Head):
    def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int) -> None:
        super().__init__(features, num_classes)
        self.name, info = next(iter(features.items()))
        self.stride, self.classify = info.stride, nn.Conv2d(info.channels, num_classes, 1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.classify(features[self.name]) * 1e38 * 1e38
'''
_POISON = "--trainer.callbacks+=tools.torture.parts.Poison --trainer.callbacks.value="


@dataclass(frozen=True)
class _Case:
    """How a training is poisoned.

    Attributes:
        flags: {folder} is the group's folder.
        skipped: steps that are left out in a training that ends well; None: it must stop.
        devices: processes.
    """

    name: str
    flags: str
    program: str = "rtseg"
    skipped: int | None = None
    devices: int = 1


CASES = (
    _Case("rate of 1e12", "--model.optim.lr=1e12 --model.optim.warmup_steps=1"),
    _Case("pre-training, rate of 1e12", "--model.optim.lr=1e12 --model.optim.warmup_epochs=0", program="pretrain"),
    _Case("loss NaN at step 3", f"{_POISON}nan --trainer.callbacks.first=3 --trainer.callbacks.last=3"),
    _Case("skip, 2 of 20 steps", f"{_POISON}nan --trainer.callbacks.first=3 --trainer.callbacks.last=4", skipped=2),
    _Case("rate of 1e12, moving average", "--model.optim.lr=1e12 --model.optim.warmup_steps=1 --model.ema_decay=0.9"),
    _Case("precision 16-true", "--trainer.precision=16-true --model.optim.warmup_steps=1"),
    _Case("loss infinite at step 3", f"{_POISON}inf --trainer.callbacks.first=3 --trainer.callbacks.last=3"),
    _Case("class weights of 1e38", f"--model.loss.class_weights=[{','.join(['1e38'] * 11)}]"),
    _Case("own head that overflows", '--model.head=overflowing --model.options={{"base_channels":8}}'),
    _Case("weights with NaN", "--model.weights={folder}/weights.ckpt"),
    _Case("NaN in a checkpoint's statistics", "--ckpt_path={folder}/statistics.ckpt"),
    _Case(
        "second of two accumulated parts",
        f"--trainer.accumulate_grad_batches=2 {_POISON}nan --trainer.callbacks.first=3 --trainer.callbacks.last=3 "
        "--trainer.callbacks.part=1",
    ),
    _Case(
        "one of two processes",
        f"--trainer.devices=2 --trainer.strategy=ddp {_POISON}nan --trainer.callbacks.first=3 "
        "--trainer.callbacks.last=3 --trainer.callbacks.rank=1",
        devices=2,
    ),
    _Case("skip, from step 3 on", f"{_POISON}inf --trainer.callbacks.first=3 --trainer.callbacks.last=99"),
)


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """One of each case."""
    data = draw_data(folder / "data")
    (folder / "overflowing.py").write_text(HEAD)
    sound = Training("sound", "--trainer.max_epochs=5 --trainer.val_check_interval=2")
    status, said = finish(sound.program, sound.command(data, folder / "sound"), folder / "sound.log")
    if status != 0:
        yield Outcome("a sound training", False, f"exit {status}: {said}", 0)
        return
    _spoil(folder / "sound" / "best.ckpt", folder / "weights.ckpt", "classify")
    _spoil(folder / "sound" / "best.ckpt", folder / "statistics.ckpt", "running_var")
    for case in CASES[:4] if quick else CASES:
        begun = time.monotonic()
        good, said = _outcome(case, data, folder)
        yield Outcome(case.name, good, said, time.monotonic() - begun)


def _spoil(source: Path, target: Path, part: str) -> None:
    """A copy of a checkpoint with a NaN in the first tensor whose name has this part."""
    checkpoint = torch.load(source, weights_only=True)
    next(value for key, value in checkpoint["state_dict"].items() if part in key).view(-1)[0] = torch.nan
    torch.save(checkpoint, target)


def _outcome(case: _Case, data: Path, folder: Path) -> tuple[bool, str]:
    """Whether the training came to what it must come to, and what was said."""
    output = folder / "_".join(case.name.replace(",", "").split())
    flags = "--trainer.max_epochs=5 --trainer.val_check_interval=2 " + case.flags.format(folder=folder)
    if case.name.startswith("skip"):
        flags += " --model.nonfinite=skip"
    training = Training(case.name, flags, case.program)
    log = output.with_suffix(".log")
    own = ["--plugin", str(folder / "overflowing.py")] if "overflowing" in case.flags else []
    if case.devices > 1:
        status, _ = run_apart(training, data, output)
        said = last_line(log)
    else:
        status, said = finish(training.program, [*training.command(data, output), *own], log)
    if "Traceback" in log.read_text(errors="replace"):
        return False, f"a traceback: {said}"
    spoilt = [path.name for path in output.glob("*.ckpt") if not _finite(torch.load(path, weights_only=True))]
    if spoilt:
        return False, f"not finite: {', '.join(spoilt)}; exit {status}: {said}"
    if case.skipped is not None:
        counted = _counted(output)
        return status == 0 and counted == case.skipped, f"exit {status}, {counted} steps left out"
    if status != 2:
        return False, f"exit {status}: {said}"
    if case.devices > 1 and "main nan" not in said:
        return False, f"it is not told by the process that saw it: {said}"
    if (output / "nonfinite.ckpt").is_file():
        replayed, seen = finish(case.program, [*own, "replay", str(output)], log)
        if replayed != 0:
            return False, f"replay: exit {replayed}: {seen}"
    return True, said


def _counted(output: Path) -> int:
    """Steps that were left out, by the log."""
    with (output / "metrics.csv").open(newline="") as lines:
        counts = [float(row["train/skipped"]) for row in csv.DictReader(lines) if row.get("train/skipped")]
    return int(counts[-1]) if counts else 0


def _finite(value: Any) -> bool:
    """Whether every number of a checkpoint's weights, moving average and optimizer is."""
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, dict):
        kept = ("state_dict", "ema_state_dict", "optimizer_states")
        return all(_finite(v) for k, v in value.items() if k in kept or "state_dict" not in value)
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True
