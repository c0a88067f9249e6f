"""How much memory is left, of a machine or of a GPU."""

from contextlib import suppress
from pathlib import Path

import torch

CPU = torch.device("cpu")
GROUP = Path("/sys/fs/cgroup")  # of the container
# In it, for cgroup v2 and v1: folder, limit, what is used, and what the kinds of memory.stat that are in it begin with.
_VERSIONS = (
    ("", "memory.max", "memory.current", ""),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def free_memory(device: torch.device = CPU) -> int | None:
    """Bytes that this process may still take; None where nothing tells.

    On a CPU those of the machine and of its container. On CUDA those of the GPU, with what PyTorch keeps for later.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = []
    with suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(1024 * int(lines["MemAvailable"].split()[0]))
    for folder, *names in _VERSIONS:
        with suppress(OSError, KeyError, ValueError):  # no container, or one without a limit ("max")
            free.append(_free_in_group(GROUP / folder, *names))
    return min(free, default=None)


def _free_in_group(group: Path, limit: str, used: str, begin: str) -> int:
    """What a container may still take. Its count has the files that it has read, which make room where it is needed."""
    kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    files = int(kinds[f"{begin}active_file"]) + int(kinds[f"{begin}inactive_file"])
    return int((group / limit).read_text()) - int((group / used).read_text()) + files
