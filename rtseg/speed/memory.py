"""How much memory work needs.

On a CPU it is measured in a process of its own: here it would reuse what others have freed.
Linux alone tells the peak of a process; elsewhere there is no figure.
"""

import ctypes
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.engines import create_engine
from rtseg.deploy.graph import Graph
from rtseg.models.network import Network

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MMAP_THRESHOLD, _SMALL = -3, 2**16  # of malloc.h; bytes of a block


def measured_apart(measure: Callable[..., int], calls: Sequence[tuple[Any, ...]]) -> list[int | None]:
    """What `measure(*call)` gives for each call, one after the other in a process that does nothing else.

    None for a call that fails or that ends the process, in which case a new one takes the others. None for all where
    the system does not tell the peak, and where the calls cannot be sent to another process.
    """
    found: list[int | None] = []
    while len(found) < len(calls):
        answers = _ask_process(measure, calls[len(found) :])
        if answers is None:
            return [None] * len(calls)
        found += answers
        if len(found) < len(calls):  # it ended without a word: out of memory, above all
            found.append(None)
    return found


def _ask_process(measure: Callable[..., int], calls: Sequence[tuple[Any, ...]]) -> list[int | None] | None:
    """The answers of a new process until it ended; None where there can be none."""
    if not _CLEAR.exists():
        return None
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_answer, args=(there, measure, calls), daemon=True)
    try:
        child.start()
    except (pickle.PicklingError, AttributeError, TypeError):  # they cannot be sent
        return None
    there.close()
    received: list[int | None] = []
    try:
        while len(received) <= len(calls):
            received.append(here.recv())
    except EOFError:
        pass
    finally:
        child.join()
    # The first says that it has started, which it cannot where the calling program came from the standard input.
    return received[1:] if received else None


def _answer(pipe: Connection, measure: Callable[..., int], calls: Sequence[tuple[Any, ...]]) -> None:
    pipe.send(None)
    for call in calls:
        try:
            pipe.send(measure(*call))
        except Exception:  # whatever fails here fails, with its message, where the work is timed
            pipe.send(None)


def running_memory(backend: str, network: Network | Graph, images: Tensor, threads: int) -> int | None:
    """Peak bytes of a process that runs frames, beyond those before the engine was built.

    Weights, the engine's own memory and the feature maps are in it; what was needed to build it, as far as it was given
    back, is not. None where the system does not tell, and of a network that cannot be sent to another process.
    """
    sent = network if isinstance(network, Graph) else network.recipe()
    return measured_apart(_run, [(backend, sent, images, threads)])[0]


def _run(backend: str, sent: Graph | Callable[[], Network], images: Tensor, threads: int) -> int:
    network = sent if isinstance(sent, Graph) else sent()
    torch.set_num_threads(threads)
    batch, height, width = images.shape[:3]
    before = _resident("VmRSS")
    engine = create_engine(backend, network, (batch, height, width), calibration=images)
    with torch.inference_mode():
        engine.run(images)
        _CLEAR.write_text("5")  # forgets the peak
        for _ in range(3):
            engine.run(images)
    return _resident("VmHWM") - before


def peak_beyond(work: Callable[[], Any]) -> int:
    """Peak bytes of this process while `work` runs, beyond those before it; for processes of `measured_apart` alone.

    With glibc, what was freed goes back to the system at once from here on; `work` would use it again, unseen.
    """
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _SMALL)
        library.malloc_trim(0)
    before = _resident("VmRSS")
    _CLEAR.write_text("5")  # forgets the peak
    work()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    """Bytes of this process, now (VmRSS) or at its peak (VmHWM)."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def allocated_beyond(work: Callable[[], Any], device: torch.device) -> int:
    """Peak bytes that PyTorch has allocated on CUDA while `work` runs, beyond those before it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
