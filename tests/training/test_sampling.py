from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg.errors import UserError
from rtseg.training.sampling import GlobalBatchSampler, ResumableLoader, SampleKey, ShardSampler, sample_seed

sizes = st.tuples(st.integers(1, 40), st.integers(1, 8), st.sampled_from([1, 2, 4]))


@given(sizes, st.integers(0, 5))
def test_devices_share_the_batches_of_one(sizes: tuple[int, int, int], epoch: int) -> None:
    share, batches, world_size = sizes
    batch_size = share * world_size
    number = (batches + 1) * batch_size - 1

    def batches_of(rank: int, world: int) -> list[list[SampleKey]]:
        sampler = GlobalBatchSampler(number, batch_size, seed=3, rank=rank, world_size=world)
        sampler.set_epoch(epoch)
        return list(sampler)

    alone = batches_of(0, 1)
    assert len(alone) == batches
    together = [
        list(chain(*parts)) for parts in zip(*(batches_of(r, world_size) for r in range(world_size)), strict=True)
    ]
    assert together == alone
    counts = Counter(key.sample for batch in alone for key in batch)
    assert max(counts.values()) == 1
    assert len(counts) == batches * batch_size


@given(sizes, st.integers(1, 4), st.integers(0, 7))
def test_accumulated_parts_make_up_the_batches_of_one(sizes: tuple[int, int, int], pieces: int, start: int) -> None:
    """On any number of devices, and from any part on."""
    share, batches, world_size = sizes
    batch_size = share * world_size * pieces
    number = (batches + 1) * batch_size - 1
    alone = list(GlobalBatchSampler(number, batch_size, seed=3))
    samplers = [
        GlobalBatchSampler(number, batch_size, seed=3, rank=r, world_size=world_size, pieces=pieces)
        for r in range(world_size)
    ]
    assert {len(sampler) for sampler in samplers} == {batches * pieces}
    parts = [list(chain(*at_once)) for at_once in zip(*samplers, strict=True)]
    assert [list(chain(*parts[k : k + pieces])) for k in range(0, len(parts), pieces)] == alone
    for sampler in samplers:
        sampler.start = start
    assert [list(chain(*at_once)) for at_once in zip(*samplers, strict=True)] == parts[start:]


def test_epochs_differ_and_repeat() -> None:
    sampler = GlobalBatchSampler(20, 5, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert [k.sample for b in second for k in b] != [k.sample for b in first for k in b]
    assert {key.epoch for batch in second for key in batch} == {1}


def test_goes_on_inside_an_epoch_once() -> None:
    whole = list(GlobalBatchSampler(20, 5, seed=0))
    sampler = GlobalBatchSampler(20, 5, seed=0)
    sampler.start = 3
    sampler.set_epoch(0)
    assert list(sampler) == whole[3:]
    assert list(sampler) == whole
    assert len(sampler) == 4


def test_seeds_have_nothing_in_common() -> None:
    seeds = {sample_seed(a, b, c) for a in range(3) for b in range(20) for c in range(50)}
    assert len(seeds) == 3000


@pytest.mark.parametrize(
    ("number", "batch_size", "world_size", "says"),
    [(10, 0, 1, "at least 1"), (10, 6, 4, "multiple of 4"), (3, 8, 1, "more than the 3 training images")],
)
def test_refuses_batches_that_cannot_be(number: int, batch_size: int, world_size: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        GlobalBatchSampler(number, batch_size, seed=0, world_size=world_size)


def test_refuses_parts_that_cannot_be() -> None:
    with pytest.raises(
        UserError,
        match=r"batch_size=12 must be a multiple of 8, .* 4 devices times 2 accumulated parts",
    ):
        GlobalBatchSampler(20, 12, seed=0, world_size=4, pieces=2)


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 5))
def test_an_epoch_ends_with_a_whole_step(images: int, batch: int, accumulated: int) -> None:
    """The batches that would make a part of a step are left out, and the others stay as they are."""
    if images < batch * accumulated:
        with pytest.raises(UserError, match=rf"batch_size={batch}.* is more than the {images} training images"):
            GlobalBatchSampler(images, batch, seed=0, accumulated=accumulated)
        return
    every = list(GlobalBatchSampler(images, batch, seed=0))
    whole = list(GlobalBatchSampler(images, batch, seed=0, accumulated=accumulated))
    assert whole == every[: len(whole)]
    assert len(whole) % accumulated == 0
    assert len(every) - len(whole) < accumulated


def test_a_position_of_before_that_is_refused_where_it_means_another_epoch() -> None:
    def loader(images: int) -> ResumableLoader:
        batches = GlobalBatchSampler(images, 2, seed=0, accumulated=2)
        return ResumableLoader(range(images), batches)  # type: ignore[arg-type]

    for images in (10, 8):
        state = loader(images).state_dict()
        loader(images).load_state_dict(state)
        del state["accumulated"]
        if images == 10:
            with pytest.raises(UserError, match="ended with a step of 1 batches of 2"):
                loader(images).load_state_dict(state)
        else:
            loader(images).load_state_dict(state)


def test_evaluation_counts_each_image_once() -> None:
    shards = [list(ShardSampler(10, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(chain(*shards)) == list(range(10))


def test_another_number_of_parts_goes_on_from_the_end_of_an_epoch_alone() -> None:
    def loader(pieces: int) -> ResumableLoader:
        return ResumableLoader(range(20), GlobalBatchSampler(20, 4, seed=0, pieces=pieces))  # type: ignore[arg-type]

    state = loader(2).state_dict()
    assert state["pieces"] == 2
    for delivered, epoch, start in ((0, 3, 0), (10, 4, 0)):
        resumed = loader(1)
        resumed.load_state_dict({**state, "epoch": 3, "batches": delivered})
        assert (resumed._batches.epoch, resumed._batches.start) == (epoch, start)
    with pytest.raises(UserError, match="inside epoch 3, with batches accumulated from 2 parts; now they are 1"):
        loader(1).load_state_dict({**state, "epoch": 3, "batches": 4})
    same = loader(2)
    same.load_state_dict({**state, "epoch": 3, "batches": 4})
    assert (same._batches.epoch, same._batches.start) == (3, 4)
