"""Runners of one network for several threads, with engines of their own."""

import weakref

import torch
from torch import Tensor

from rtseg.deploy.device import torch_threads
from rtseg.deploy.explain import Choice
from rtseg.deploy.runner import Runner


class Beside(Runner):
    """A runner of the same network for another thread, with engines of its own.

    The first runner chooses the engine, with as many threads as the constructing thread has. Engines are built one at a
    time, and the network is exported once.
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
    """So many runners beside the first. They are made once, and kept with their engines as long as the first is."""
    kept = _kept.setdefault(first, [])
    kept += [Beside(first) for _ in range(number - len(kept))]
    return kept[:number]
