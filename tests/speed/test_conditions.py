"""Conditions check themselves, say which rows they make, and print themselves."""

import dataclasses
import json
import re
from typing import Any

import pytest
import torch

from rtseg.errors import UserError
from rtseg.speed.conditions import Conditions

CPU = Conditions(device="cpu")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sizes": [(32, 32), (0, 32)]}, "height=0 must be a whole number of at least 1"),
        ({"sizes": [(32, 1.5)]}, "width=1.5 must be a whole number"),
        ({"sizes": (32, 32)}, "sizes: 32 must be (height, width), as in [(512, 512)]"),
        ({"sizes": [(32,)]}, "sizes: (32,) must be (height, width)"),
        ({"sizes": "32x32"}, "sizes='32x32' must be a list of at least one, as in [(512, 512)]"),
        ({"sizes": []}, "sizes=[] must be a list of at least one"),
        ({"batches": ()}, "batches=() must be a list of at least one, as in [1]"),
        ({"batches": 2}, "batches=2 must be a list"),
        ({"batches": [1, 0]}, "batch size=0 must be"),
        ({"seconds": 0}, "seconds=0 must be above 0; it is how long each figure is timed, as in --seconds 6"),
        ({"seconds": -1}, "seconds=-1 must be above 0"),
        ({"seconds": float("nan")}, "seconds=nan must be a finite number"),
        ({"seconds": float("inf")}, "seconds=inf must be a finite number"),
        ({"seconds": 2, "most_seconds": 1}, "seconds=2 must be from 0 to 1"),
        ({"seconds": 0, "most_seconds": 0}, "most_seconds=0 must be above 0"),
        ({"warmup_seconds": -1}, "warmup_seconds=-1 must be at least 0"),
        ({"rounds": 0}, "rounds=0 must be a whole number of at least 1"),
        ({"threads": 0}, "threads=0 must be a whole number of at least 1"),
        ({"threads": 100_000}, "threads=100000 must be from 1 to 1024; more than the cores make nothing faster"),
        ({"seed": -1}, "seed=-1 must be a whole number of at least 0"),
        ({"min_parity": 101}, "min_parity=101 must be from 0 to 100; it is per cent of equal pixels"),
        ({"min_parity": float("nan")}, "min_parity=nan must be"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_bad_conditions_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        dataclasses.replace(CPU, **bad)


def test_rows_are_of_every_size_and_batch() -> None:
    conditions = dataclasses.replace(CPU, sizes=[(16, 24), (32, 48)], batches=[1, 2])
    assert conditions.shapes == [(1, 16, 24), (2, 16, 24), (1, 32, 48), (2, 32, 48)]
    assert conditions.where == torch.device("cpu")
    assert hash(conditions) == hash(dataclasses.replace(conditions))


def test_stages_have_a_third_of_the_time() -> None:
    stage = CPU.shorter()
    assert (stage.seconds, stage.limit, stage.rounds) == (2, 4, 50)
    quick = dataclasses.replace(CPU, seconds=0, most_seconds=2, rounds=3).shorter()
    assert (quick.seconds, quick.limit, quick.rounds) == (0, 2, 3)


def test_random_numbers_begin_with_the_seed_and_go_on_as_before() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    first = torch.rand(1)
    drawn = []
    for seed in (3, 3, 4):
        with dataclasses.replace(CPU, seed=seed).seeded():
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_they_print_themselves() -> None:
    conditions = dataclasses.replace(CPU, threads=2, seed=3, min_parity=99)
    found = conditions.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found.keys() == {field.name for field in dataclasses.fields(Conditions)}
    assert str(conditions) == (
        "each figure timed for at least 6 s and 200 runs, at most 18 s, after 1 s of warm-up; on cpu, threads 2, "
        "seed 3, parity of 99 % asked"
    )
