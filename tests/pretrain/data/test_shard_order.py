"""Which image comes when: pure functions of counts."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.data.shard_order import eval_part, shuffled, train_part

few = st.integers(1, 4)


# Pure functions of counts.


def delivered(batches: int, share: int, start: int, *, rank: int, world: int, workers: int) -> list[list[int]]:
    """The batches of a rank from `start` on, as places in the epoch's sequence, in the order that a loader gives."""
    outputs: list[Iterator[int]] = []
    for worker in range(workers):
        part = train_part(batches, share, rank=rank, world_size=world, worker=worker, num_workers=workers, start=start)
        order = shuffled(part.samples, 3, np.random.default_rng(part.first))
        outputs.append(iter((part.first + order[part.delivered :]).tolist()))
    found = [[next(outputs[k % workers]) for _ in range(share)] for k in range(batches - start)]
    assert not list(chain(*outputs))  # nothing is left
    return found


@settings(deadline=None)
@given(st.integers(1, 9), few, few, few, st.data())
def test_every_image_of_an_epoch_once(batches: int, share: int, world: int, workers: int, data: st.DataObject) -> None:
    """Over all ranks and workers; and from any batch on, the very same ones."""
    ranks = [delivered(batches, share, 0, rank=rank, world=world, workers=workers) for rank in range(world)]
    assert sorted(chain(*chain(*ranks))) == list(range(batches * share * world))
    start = data.draw(st.integers(0, batches))
    for rank, whole in enumerate(ranks):
        assert delivered(batches, share, start, rank=rank, world=world, workers=workers) == whole[start:]


@settings(deadline=None)
@given(st.integers(0, 50), few, few, few)
def test_every_image_is_evaluated_once(total: int, batch_size: int, world: int, workers: int) -> None:
    seen = []
    for rank in range(world):
        parts = [
            eval_part(total, batch_size, rank=rank, world_size=world, worker=worker, num_workers=workers)
            for worker in range(workers)
        ]
        seen += [range(part.first, part.first + part.samples) for part in parts]
        sizes = [part.samples for part in parts]
        assert sum(-(-size // batch_size) for size in sizes) == -(-sum(sizes) // batch_size)
    assert list(chain(*seen)) == list(range(total))


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 20))
def test_a_shuffle_buffer_holds_no_more_than_it_may(number: int, buffer: int) -> None:
    order = shuffled(number, buffer, np.random.default_rng(0))
    assert sorted(order) == list(range(number))
    assert all(image < place + buffer for place, image in enumerate(order))


def test_a_shuffle_buffer_shuffles() -> None:
    order = shuffled(1000, 100, np.random.default_rng(0))
    assert np.mean(np.abs(order - np.arange(1000))) > 50
    assert np.array_equal(shuffled(1000, 1, np.random.default_rng(0)), np.arange(1000))
    first = Counter(int(shuffled(40, 20, np.random.default_rng(seed))[0]) for seed in range(300))
    assert first.keys() == {0, 1, 2}  # it begins with a tenth and one
    assert min(first.values()) > 70
