"""How much CPU memory an engine needs, measured in a process of its own: here it would reuse what others have freed.

Linux alone tells the peak; elsewhere there is no figure.
"""

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

from rtseg.deploy.engines import create_engine
from rtseg.deploy.graph import Graph
from rtseg.models.network import Network

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def running_memory(backend: str, network: Network | Graph, images: Tensor, threads: int) -> int | None:
    """Peak bytes of a process that runs frames, beyond those before the engine was built.

    Weights, the engine's own memory and the feature maps are in it; what was needed to build it, as far as it was given
    back, is not. None where the system does not tell, and of a network that cannot be sent to another process.
    """
    if not _CLEAR.exists():
        return None
    sent = network if isinstance(network, Graph) else network.recipe()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_measure, args=(there, backend, sent, images, threads), daemon=True)
    try:
        child.start()
    except (pickle.PicklingError, AttributeError, TypeError):  # it cannot be sent, and its `recipe` makes no other
        return None
    there.close()
    try:
        return here.recv()
    except EOFError:  # it ended without a word: out of memory, above all
        return None
    finally:
        child.join()


def _measure(pipe: Connection, backend: str, sent: Graph | Callable[[], Network], images: Tensor, threads: int) -> None:
    try:
        pipe.send(_run(backend, sent, images, threads))
    except Exception:  # whatever fails here fails, with its message, where the row is timed
        pipe.send(None)


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


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
