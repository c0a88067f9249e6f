"""The order in which an epoch's images come out of shards: pure functions of counts and seeds, computed before anything
is read.
"""

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """What one worker reads of an epoch: so many images from `first` on, the first `delivered` of its output before."""

    first: int
    samples: int
    delivered: int = 0


def train_part(
    batches: int, share: int, *, rank: int, world_size: int, worker: int, num_workers: int, start: int = 0
) -> Part:
    """A worker has every num_workers-th batch of its rank, and ranks and workers read ranges of the epoch's sequence.

    Args:
        batches: of a rank in an epoch.
        share: images of one.
        worker: as the loader counts them from the batch `start` on: it asks worker 0 for that one.
        start: the first batch that is wanted.
    """
    assert 0 <= rank < world_size
    own = (start + worker) % num_workers
    before = sum(len(range(other, batches, num_workers)) for other in range(own))
    return Part(
        (rank * batches + before) * share,
        len(range(own, batches, num_workers)) * share,
        len(range(own, start, num_workers)) * share,
    )


def eval_part(total: int, batch_size: int, *, rank: int, world_size: int, worker: int, num_workers: int) -> Part:
    """Every image once; only the last worker's last batch is smaller, so that the number of batches is known."""
    first, end = total * rank // world_size, total * (rank + 1) // world_size
    batches = -(-(end - first) // batch_size)
    begin, stop = (first + batches * at // num_workers * batch_size for at in (worker, worker + 1))
    return Part(min(begin, end), min(stop, end) - min(begin, end))


def shuffled(number: int, buffer: int, rng: np.random.Generator) -> np.ndarray:
    """The order in which a shuffle buffer gives out what it reads: which input comes at each place.

    It begins with a tenth of its size and takes in two for one out until it is full, so that an epoch's first batch
    does not wait for thousands of images.
    """
    order = np.empty(number, np.int64)
    held: list[int] = []
    taken = 0
    for place, draw in enumerate(rng.random(number)):
        more = min(buffer, buffer // 10 + place + 1) - len(held)
        held += range(taken, min(taken + more, number))
        taken = min(taken + more, number)
        slot = int(draw * len(held))
        order[place], held[slot] = held[slot], held[-1]
        held.pop()
    return order
