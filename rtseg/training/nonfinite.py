"""Watches for training steps whose loss, gradient or update is not finite, and undoes them.

Before each step the weights and the BatchNorm statistics are copied; a forward pass changes the latter. After the step,
loss, gradient and updated weights are checked in one synchronisation with the device. A bad step is undone. Then the
training stops, or leaves the step out and counts it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.optim import Optimizer

from rtseg.checks import check_one_of
from rtseg.errors import UserError, first_line
from rtseg.terminal import say
from rtseg.training.checkpoint import AtomicCheckpointIO
from rtseg.training.finite import by_kind, few, norm, norms, not_finite
from rtseg.training.results import NONFINITE

if TYPE_CHECKING:
    from rtseg.training.network_module import NetworkModule

MODES = ("stop", "skip")
MOST_IN_A_ROW, MOST_IN_ALL = 10, 100  # steps that "skip" leaves out; one more stops the training
_LEAST_SCALE = 2**-20  # a GradScaler begins with 2 ** 16, and halves that with each gradient that is not finite
_HIGHEST = 1e36  # AdamW's first steps are up to ten times the rate, and float32 ends at 3e38
_LARGE_LOSS = 1e6  # images alone do not cause it, weights that have grown do


class Part(NamedTuple):
    """A batch on its way through a step; a step has several where gradients are accumulated.

    Attributes:
        batch: as the loader gave it, on the device.
        seed: seed of the random numbers that are drawn for it.
        terms: the terms of its loss.
    """

    batch: Any
    seed: int
    terms: Mapping[str, Tensor]


class _Copy:
    """Values of tensors, to restore them."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = by_kind(tensors)
        self.values = [[torch.empty_like(tensor) for tensor in kind] for kind in self.tensors]

    @torch.no_grad()
    def take(self) -> None:
        for values, tensors in zip(self.values, self.tensors, strict=True):
            torch._foreach_copy_(values, tensors)

    @torch.no_grad()
    def give_back(self) -> None:
        for values, tensors in zip(self.values, self.tensors, strict=True):
            torch._foreach_copy_(tensors, values)


class StepGuard:
    """Watches the steps of one training.

    Args:
        mode: one of `MODES`.

    Attributes:
        skipped, in_a_row: steps that were left out, in all and without a good one between.

    Raises:
        UserError: another mode.
    """

    def __init__(self, module: "NetworkModule[Any]", mode: str) -> None:
        check_one_of("model.nonfinite", mode, MODES)
        self.module, self.mode = module, mode
        self.skipped = self.in_a_row = 0
        self._part: Part | None = None
        self._gradients: dict[str, Tensor] = {}  # norm by parameter
        self._scale: float | None = None  # of a GradScaler
        self._bad = False  # a part of this step
        self._copy: _Copy | None = None
        self._state: _Copy | None = None  # the optimizer's

    def start(self) -> None:
        """Before the first step.

        Raises:
            UserError: the network is not finite already, or a rate is too large for its type.
        """
        for group in self._optimizer().param_groups:
            highest = group.get("initial_lr", group["lr"]) * max(1, group["weight_decay"])
            if not highest < _HIGHEST:
                raise UserError(
                    f"a learning rate times weight decay of {highest:.3g} is beyond float32: lower model.optim.lr, "
                    "whose default is good"
                )
        if names := not_finite(self.module.state_dict().items()):
            raise UserError(
                f"the network is not finite before the first step ({few(names)}): give another model.weights, or "
                "resume from an older checkpoint with --ckpt_path"
            )
        self._check_state()
        network = self.module.network
        self._parameters = dict(network.named_parameters())
        self._floats = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
        self._copy = _Copy([*network.parameters(), *network.buffers()])
        self._put_aside()

    def _put_aside(self) -> None:
        """Renames the step that an earlier training left in the folder; model.weights may name that file."""
        trainer = self.module.trainer
        file = Path(trainer.default_root_dir, NONFINITE)
        new = trainer.global_step == 0 and not getattr(trainer, "fast_dev_run", False)
        if new and trainer.is_global_zero and file.is_file():
            file.replace(file.with_name(f"{NONFINITE}.old"))

    def _check_state(self) -> None:
        """Raises: UserError where the optimizer's state, of a training that is resumed, does not fit its parameters."""
        states = dict(enumerate(self._optimizer().state.items()))
        keys = {key for _, state in states.values() for key in state}
        wrong = [f"{place}.{key}" for place, (_, state) in states.items() for key in keys.difference(state)]
        tensors = {}
        for place, (parameter, state) in states.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"{place}.{key}"] = value
                    wrong += [f"{place}.{key}"] * (value.ndim > 0 and value.shape != parameter.shape)
        if wrong := wrong or not_finite(tensors.items()):
            raise UserError(
                f"the state of the optimizer in the checkpoint is not finite, or not of this network ({few(wrong)}): "
                "resume from an older checkpoint, or start a new training from its weights with --model.weights"
            )

    def begin(self) -> None:
        """Before the first forward pass of a step."""
        assert self._copy is not None
        self._bad = False
        self._copy.take()
        if self.mode == "skip":
            state = self._optimizer().state
            if state and self._state is None:
                self._state = _Copy(v for own in state.values() for v in own.values() if isinstance(v, Tensor))
            if self._state is not None:
                self._state.take()

    def lost(self, part: Part) -> None:
        """After the loss of a part."""
        self._part = part

    def backward(self, *, last: bool) -> None:
        """After the backward pass of a part; the last part's waits for the update."""
        if self._part is None or self._copy is None:
            return  # some other loop than a training's
        # Under a GradScaler infinite gradients are normal: it leaves the step out, until its scale is exhausted.
        scaler = getattr(self.module.trainer.precision_plugin, "scaler", None)
        self._scale = None if scaler is None else scaler.get_scale()
        learnt = {name: p.grad for name, p in self._parameters.items() if p.grad is not None and scaler is None}
        self._gradients = dict(zip(learnt, norms(learnt.values()), strict=True))
        if not last and not self._bad:
            self._bad = not self._looks_good()

    def end(self) -> bool:
        """After the update. Returns whether it stays; if not, all is as it was before the step.

        Raises:
            UserError: the training stops.
        """
        if self._part is None:
            return True
        good = not self._bad and self._looks_good(norm(norms(self._floats)))
        self._part, self._gradients = None, {}
        if good:
            self.in_a_row = 0
        else:
            self._undo()
        return good

    def _looks_good(self, weights: Tensor | None = None) -> bool:
        """Checks a part, on all processes; a bad one is counted, or stops the training."""
        assert self._part is not None
        found = {"loss": torch.stack(list(self._part.terms.values())).sum()}
        if self._gradients:
            found["gradient"] = norm(list(self._gradients.values()))
        if self._scale is not None and self._scale < _LEAST_SCALE:
            found["gradient"] = torch.full_like(found["loss"], torch.nan)
        if weights is not None:
            found["update"] = weights
        own = torch.stack(list(found.values())).isfinite().logical_not().float()
        strategy = self.module.trainer.strategy
        everyone = own if self.module.trainer.world_size == 1 else strategy.reduce(own.clone(), reduce_op="sum")
        flags: list[float] = everyone.tolist()
        if not any(flags):
            return True
        causes = [cause for cause, flag in zip(found, flags, strict=True) if flag]
        # One process speaks: the first that saw it. A bad loss of one makes the gradient of all bad.
        saw = own.new_zeros(self.module.trainer.world_size)
        saw[self.module.global_rank] = own[list(found).index(causes[0])]
        speaker = int(strategy.reduce(saw, reduce_op="sum").nonzero()[0])
        here = self.module.global_rank == speaker
        said = self._describe(causes[0]) if here else ""
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        too_many = self.in_a_row > MOST_IN_A_ROW or self.skipped > MOST_IN_ALL
        if self.mode == "stop" or causes[0] == "update" or too_many:
            self._stop(causes[0], said, speaker, too_many=self.mode == "skip" and causes[0] != "update")
        if here:
            counts = f"{self.in_a_row} in a row, {self.skipped} in all"
            say(f"{said} The step is left out, {counts}.{self._images(self._part)}")
        return False

    def _describe(self, cause: str) -> str:
        """One sentence: the step, what is not finite, and the learning rate."""
        assert self._part is not None
        trainer, network = self.module.trainer, self.module.network
        where = f"Step {trainer.global_step + 1}, epoch {trainer.current_epoch + 1}"
        if cause == "loss":
            what = "the loss is not finite: " + ", ".join(f"{k} {float(v):.4g}" for k, v in self._part.terms.items())
        elif cause == "gradient" and self._scale is not None:
            what = f"the gradient is not finite at any scale, down to {self._scale:.2g}"
        elif cause == "gradient":
            bad = [name for name, value in self._gradients.items() if not value.isfinite()]
            place = f"nearest to the loss in {bad[-1]} " if bad else ""
            what = f"the gradient is not finite, {place}({len(bad)} of {len(self._gradients)} tensors)"
        else:
            bad = not_finite((*network.named_parameters(), *network.named_buffers()))
            what = f"the update made weights that are {f'not finite: {few(bad, 3)}' if bad else 'out of range'}"
        rates = ", ".join(f"{rate:.3g} ({name})" for name, rate in self._rates().items())
        return f"{where}: {what}; learning rate {rates}; precision {trainer.precision}."

    def _images(self, part: Part) -> str:
        names = self.module.names_of(part.batch)
        return f" Images: {few(names, 6)}." if names else ""

    def _stop(self, cause: str, said: str, speaker: int, *, too_many: bool) -> None:
        """Writes the replay's file. Raises: UserError in the first process, SystemExit in others.

        Args:
            speaker: the process that has the sentence and the batch.
        """
        part = self._part
        self._undo()
        trainer = self.module.trainer
        file = Path(trainer.default_root_dir, NONFINITE)
        if self.module.global_rank == speaker:
            assert part is not None
            if too_many:
                said += f" {self.in_a_row} such steps in a row, {self.skipped} in all, are too many to leave out."
            left = self._write(file, part, cause, said + self._images(part))
            said += f" {left} Try {self._advice(cause, part)}.{self._images(part)}"
        said = trainer.strategy.broadcast(said, src=speaker)
        if not trainer.is_global_zero:
            raise SystemExit(2)
        raise UserError(said)

    def _write(self, file: Path, part: Part, cause: str, said: str) -> str:
        """Writes the replay's file and returns a sentence about it."""
        module, trainer = self.module, self.module.trainer
        if getattr(trainer, "fast_dev_run", False):
            return "Nothing was written (trainer.fast_dev_run)."
        checkpoint: dict[str, Any] = {
            "pytorch-lightning_version": L.__version__,
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams),
        }
        module.on_save_checkpoint(checkpoint)
        checkpoint["nonfinite"] = {
            "cause": cause,
            "said": said,
            "batch": move_data_to_device(part.batch._asdict(), torch.device("cpu")),
            "seed": part.seed,
            "terms": {key: float(value) for key, value in part.terms.items()},
            "rates": self._rates(),
            "precision": str(trainer.precision),
        }
        try:
            AtomicCheckpointIO().save_checkpoint(checkpoint, file)
        except (OSError, RuntimeError, UserError) as error:
            return f"The weights from before the step could not be written to {file}: {first_line(error)}."
        return (
            f"{file} holds its batch and the weights from before it, which may be ruined already: "
            f"`{module.replay_command} {file.parent}` shows where it began."
        )

    def _advice(self, cause: str, part: Part) -> str:
        trainer = self.module.trainer
        tries = ["a lower model.optim.lr"]
        grown = max(self._rates().values()) >= 1 or any(value > _LARGE_LOSS for value in part.terms.values())
        if "16" in str(trainer.precision) and "bf16" not in str(trainer.precision):
            place = 1 if grown else 0
            tries.insert(place, f"trainer.precision=bf16-mixed or 32-true instead of {trainer.precision}")
        if cause != "update":
            tries += ["trainer.gradient_clip_val=1"] * (not trainer.gradient_clip_val)
        if cause != "update" and not grown:
            tries.append("other images in place of these if they or their masks are odd")
            tries += ["model.nonfinite=skip to leave such steps out"] * (self.mode == "stop")
        return ", ".join(tries[:-1]) + f", or {tries[-1]}" if len(tries) > 1 else tries[0]

    def _undo(self) -> None:
        """Restores all as before the step, except the optimizer's state of a training that stops."""
        assert self._copy is not None
        self._copy.give_back()
        if self.mode == "skip":
            if self._state is None:
                self._optimizer().state.clear()
            else:
                self._state.give_back()
        self._optimizer().zero_grad(set_to_none=True)

    def _optimizer(self) -> Optimizer:
        (optimizer,) = self.module.trainer.optimizers
        return optimizer

    def _rates(self) -> dict[str, float]:
        groups = self._optimizer().param_groups
        return {str(group.get("name", place)): float(group["lr"]) for place, group in enumerate(groups)}
