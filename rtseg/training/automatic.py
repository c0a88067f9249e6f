"""`rtseg fit --auto`: the precision and the processes that suit this machine, each with its reason.

The processor's instructions and the GPUs decide, and not a measurement. Every process of a training, and every
resumption of it, must choose the same; a measurement of a second on a busy machine does not.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from jsonargparse import Namespace

from rtseg.deploy.device import available_cores, instruction_sets
from rtseg.terminal import counted

# PyTorch emulates bfloat16 where the processor has neither, and is then far slower than with float32.
_BFLOAT16 = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Machine:
    """What decides how a network is trained fastest.

    Attributes:
        kind: what it is trained on, as PyTorch calls it: "cpu", "cuda", "mps".
        cores: that this process may use.
        bfloat16: the instruction set for it, "" for none.
        gpus: compute capability of each CUDA GPU.
        system: as `sys.platform` calls it.
    """

    kind: str
    cores: int
    bfloat16: str = ""
    gpus: tuple[tuple[int, int], ...] = ()
    system: str = "linux"

    @classmethod
    def here(cls, accelerator: Any) -> Self:
        """This machine, where `trainer.accelerator` is as given."""
        kind = str(accelerator)
        if kind in ("auto", "gpu"):
            found = torch.accelerator.current_accelerator(check_available=True)
            kind = "cpu" if found is None else found.type
        # PyTorch's own list, which older releases lack, is for systems without /proc.
        known = {*instruction_sets(), *(k for k, v in getattr(torch.cpu, "get_capabilities", dict)().items() if v)}
        gpus = tuple(map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))) if kind == "cuda" else ()
        bfloat16 = next((name for name in _BFLOAT16 if name in known), "")
        return cls(kind, available_cores(), bfloat16, gpus, sys.platform)

    def precision(self) -> tuple[str, str]:
        """`trainer.precision` and the reason for it."""
        if self.kind == "cpu":
            if self.bfloat16:
                return "bf16-mixed", f"this processor has instructions for bfloat16 ({self.bfloat16})"
            return "32-true", f"this processor has no instructions for bfloat16 ({' or '.join(_BFLOAT16)})"
        if self.kind != "cuda":
            return "32-true", f"half precision is not tested on devices of kind '{self.kind}'"
        least = min(self.gpus, default=(0, 0))
        capability = f"compute capability {least[0]}.{least[1]}"
        if least >= (8, 0):
            return "bf16-mixed", f"the GPU computes in bfloat16 ({capability}; from 8.0)"
        if least >= (7, 0):
            return "16-mixed", f"the GPU computes in float16, but not in bfloat16 ({capability}; from 7.0 and 8.0)"
        return "32-true", f"the GPU has no fast half precision ({capability}; from 7.0)"

    def processes(self, fits: Callable[[int], bool]) -> tuple[int, str]:
        """How many processes train, and the reason.

        Args:
            fits: whether a batch divides among so many.
        """
        if self.kind == "cuda":
            most = max(1, len(self.gpus))
            number = next((n for n in range(most, 1, -1) if fits(n)), 1)
            if number == most:
                return most, "one process for each GPU" if most > 1 else "this machine has one GPU"
            return number, f"the batch or the validation images do not divide among more of the {most} GPUs"
        if self.kind != "cpu":
            return 1, f"several processes are not tested on devices of kind '{self.kind}'"
        if self.system != "linux":
            return 1, "on a CPU, several processes are tested on Linux only"
        if self.cores in (1, 3):  # two processes of one core would leave the third idle
            return 1, f"{counted(self.cores, 'core')} for two processes would be no faster"
        if not fits(2):
            return 1, "the batch or the validation images do not divide among two processes"
        half = counted(self.cores // 2, "core")
        return 2, f"without a GPU, two processes of {half} each train faster than one of {self.cores}"


def choose(
    trainer: Namespace, machine: Machine, fits: Callable[[int], bool], checkpoint: Mapping[str, Any] | None
) -> list[str]:
    """Sets `precision`, `devices` and `strategy` of a trainer where the user gave none.

    A resumed training keeps those of its checkpoint, as far as the machine has so many devices.

    Args:
        fits: whether a batch divides among so many processes.
        checkpoint: `read_header` of the one that is resumed.

    Returns:
        One line for each choice.
    """
    lines = []
    kept = (checkpoint or {}).get("settings", {}).get("trainer.precision")
    if trainer.precision is not None:
        lines.append(f"--auto keeps --trainer.precision={trainer.precision}: it is given.")
    elif kept is not None:
        trainer.precision = kept
        lines.append(f"--auto keeps --trainer.precision={kept}: the checkpoint was trained with it.")
    else:
        trainer.precision, reason = machine.precision()
        lines.append(f"--auto chooses --trainer.precision={trainer.precision}: {reason}.")
    if trainer.devices != "auto":
        return [*lines, f"--auto keeps --trainer.devices={trainer.devices}: it is given."]
    started = os.environ.get("LOCAL_WORLD_SIZE") if "TORCHELASTIC_RUN_ID" in os.environ else None
    if started is None and "SLURM_NTASKS" in os.environ:
        return [*lines, "--auto leaves --trainer.devices to SLURM, which starts the processes."]
    had = (checkpoint or {}).get("world_size", 0) // trainer.num_nodes
    verb = "chooses"
    if started is not None:
        number, reason = int(started), f"torchrun starts {started} on this machine"
    elif 1 <= had <= (max(1, len(machine.gpus)) if machine.kind != "cpu" else max(2, machine.cores)):
        verb, number, reason = "keeps", had, "the checkpoint was trained with it"
    else:
        number, reason = machine.processes(fits)
    trainer.devices, flags = number, f"--trainer.devices={number}"
    if number > 1 and trainer.strategy == "auto":
        trainer.strategy = "ddp"
        flags += " --trainer.strategy=ddp"
    return [*lines, f"--auto {verb} {flags}: {reason}."]
