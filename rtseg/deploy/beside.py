"""Runners of one network for several threads, with engines of their own."""

import weakref

import torch
from torch import Tensor

from rtseg.deploy.choice import Choice
from rtseg.deploy.device import torch_threads
from rtseg.deploy.runner import Runner


class Beside(Runner):
    """Runs what another runner runs, in another thread. The other one chooses the engine, as in the thread of now.

    Engines are built one at a time, and the network is exported once.
    """

    def __init__(self, first: Runner) -> None:
        vars(self).update(vars(first))
        self._first, self._threads = weakref.proxy(first), torch.get_num_threads()
        self._choices = {}
        self._begin(first._engines.beside())

    def _choose(self, images: Tensor) -> Choice:
        with torch_threads(self._threads):
            return self._first.choice(images)


_kept: "weakref.WeakKeyDictionary[Runner, list[Beside]]" = weakref.WeakKeyDictionary()


def beside(first: Runner, number: int) -> list[Beside]:
    """So many of them, the same as before: their engines are kept as long as the first runner is."""
    kept = _kept.setdefault(first, [])
    kept += [Beside(first) for _ in range(number - len(kept))]
    return kept[:number]
