"""One sentence for what Lightning and PyTorch's loader raise where a command is wrong or a process is killed."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import torch
from jsonargparse import Namespace

from rtseg.checks import check_above, check_at_least, check_between
from rtseg.errors import UserError, first_line
from rtseg.training.loading import why_killed

_RESTORES = "lightning.pytorch.trainer.connectors.checkpoint_connector"


def check_trainer(trainer: Namespace) -> None:
    """Checks the numbers that Lightning divides by, or starts processes by, without a check of its own.

    Raises:
        UserError: one of them is out of range.
    """
    if (trainer.accelerator == "cpu" or not torch.accelerator.is_available()) and str(trainer.devices).isdigit():
        most = max(2, os.cpu_count() or 1)
        repair = "on a CPU a device is a process, and this machine has no more cores"
        check_between("trainer.devices", int(trainer.devices), 1, most, repair)
    check_at_least("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, 1, "1 accumulates nothing")
    if trainer.check_val_every_n_epoch is not None:
        repair = "null counts val_check_interval in steps of the whole training"
        check_at_least("trainer.check_val_every_n_epoch", trainer.check_val_every_n_epoch, 1, repair)
    if isinstance(trainer.val_check_interval, int | float):
        repair = "a part of an epoch, or a number of batches; limit_val_batches=0 validates never"
        check_above("trainer.val_check_interval", trainer.val_check_interval, 0, repair)


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Whatever Lightning refuses, and a loader process that was killed, becomes a UserError.

    Raises:
        UserError: with what to do, where that is known.
        SystemExit: the training was stopped, whatever Lightning's clearing away raised then; it does where a signal
            comes while the loader's processes are being started.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error.__context__, SystemExit):
            raise error.__context__ from None
        modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
        sentence = why_killed(str(error))
        if sentence is None and _RESTORES in modules and not isinstance(error, OSError):
            sentence = (
                f"the checkpoint holds a state that no training writes ({type(error).__name__}: {first_line(error)}): "
                "resume from another one, or start a new training from its weights with --model.weights"
            )
        # In a line of its own code, and not in ours or in a library that it calls.
        if sentence is None and modules[-1].startswith("lightning."):
            sentence = _refused(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _refused(error: Exception) -> str:
    batches = re.search(r"`val_check_interval` \((\d+)\) .* training batches \((\d+)\)", str(error))
    if batches:
        return (
            f"trainer.val_check_interval={batches[1]} is more than the {batches[2]} batches of an epoch: give at most "
            f"{batches[2]}, or a part of an epoch as 0.5, or --trainer.check_val_every_n_epoch=null to count batches "
            "over epochs"
        )
    if "backend found" in str(error):
        return f"trainer.accelerator: {first_line(error)} Leave it out, or give --trainer.accelerator=cpu"
    return f"the trainer refuses its settings: {first_line(error)}"
