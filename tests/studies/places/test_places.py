"""What attentions cost at places: counted, measured, computed where they do not fit."""

import math
from collections.abc import Sequence

import pytest
import torch

from rtseg.attention.insertion import Inserted
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.speed.conditions import Conditions
from rtseg.speed.growth import count_floats
from rtseg.studies.places import cost_table, measure_places
from rtseg.studies.places.passes import Passes, Size, Written, peaks
from tests.helpers.tables import check_whole

QUICK = Conditions(device="cpu", seconds=0.001, rounds=2, warmup_seconds=0.001)
CPU = torch.device("cpu")
PLACES = {"layer3": FeatureInfo(8, 8), "fpn.p5": FeatureInfo(4, 32)}
DOT = "nl:kind=dot:heads=1"


@pytest.fixture
def linear_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass takes 1000 bytes a position, and 5 more for each pair of positions where it makes a map of them: 4 of the
    map, one of a mask that is not counted.
    """

    def computed(calls: Sequence[tuple[Passes, Size]], device: torch.device) -> list[int | None]:
        pairs = [("dot" in row.attention, math.prod(size)) for row, size in calls]
        return [1000 * n + (5 * n * n if dot else 0) for dot, n in pairs]

    monkeypatch.setattr("rtseg.studies.places.cost.peaks", computed)


@pytest.mark.parametrize("attention", ["fa:basis=2:heads=1", DOT, "nl:basis=2:heads=1", "nl:heads=1", "sa", "gfa"])
def test_what_a_small_map_writes_tells_it_of_all(attention: str) -> None:
    layer = Inserted([attention], 8).eval()
    written = Written.counted(layer, 8, CPU)
    for size in ((8, 16), (24, 40)):
        x = torch.zeros(1, 8, *size)
        assert written.floats(math.prod(size)) == count_floats(lambda x=x: layer(x))  # type: ignore[misc]


def test_each_attention_at_each_place(linear_peaks: None) -> None:
    limit = 30_000_000
    costs = measure_places(PLACES, ["fa:basis=2:heads=1", DOT], (512, 640), QUICK, limit)
    assert [(cost.place, cost.attention.partition(":")[0]) for cost in costs] == [
        ("layer3", "fa"), ("layer3", "nl"), ("fpn.p5", "fa"), ("fpn.p5", "nl"),
    ]  # fmt: skip
    fa, nl, small, other = costs
    assert (fa.map_size, small.map_size) == ((64, 80), (16, 20))
    assert fa.parameters == 8 * (2 + 2 + 4) + 4 * 8
    assert fa.macs == 5120 * (fa.parameters + 2 * 2 * 4)
    assert fa.measured
    assert fa.median_ms is not None
    assert fa.time_exponent is not None
    assert (fa.reason, small.reason, other.reason) == ("", "", "")
    assert fa.memory_exponent == pytest.approx(1, abs=0.01)
    assert nl.memory_exponent == pytest.approx(1.98, abs=0.02)
    # 5120 positions by 5120, beside 4 + 4 + 4 + 4 + 8 + 8 numbers of each
    assert nl.floats == 5120**2 + 32 * 5120
    assert nl.reason == "not run: it writes 0.1 GB, 30.0 MB are the limit"
    assert (nl.median_ms, nl.measured, nl.peak_bytes) == (None, False, 1000 * 5120 + 5 * 5120**2)
    # 30,000 positions: 154 rows and 192 columns; of pairs 2,351: 43 and 53
    assert fa.largest == (154 * 8, 192 * 8)
    assert nl.largest == (43 * 8, 53 * 8)
    table = cost_table(costs, (512, 640), limit)
    assert table.texts()[1][6:9] == ["136.2 computed", "—", "344x424"]
    check_whole(table, 80)


def test_without_a_limit_the_free_memory_decides(linear_peaks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.studies.places.cost.free_memory", lambda _: 2_000_000)
    (cost,) = measure_places({"layer3": FeatureInfo(8, 8)}, [DOT], (256, 256), QUICK, None)
    assert cost.reason == "not run: it writes 4.3 MB, 2.0 MB are free"
    assert (cost.largest, cost.median_ms) == (None, None)


def test_where_the_system_tells_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.studies.places.cost.peaks", lambda calls, device: [None] * len(calls))
    (cost,) = measure_places({"layer3": FeatureInfo(8, 8)}, [DOT], (64, 64), QUICK, 10**9)
    assert not cost.measured
    assert cost.peak_bytes == 4 * cost.floats
    assert cost.median_ms is not None


def test_an_attention_that_cannot_be_inserted_is_refused() -> None:
    with pytest.raises(UserError, match="'ca' reads a second map"):
        measure_places(PLACES, ["ca"], (64, 64), QUICK, None)


@pytest.mark.slow
def test_the_peak_of_a_process_of_its_own() -> None:
    rows = [Passes("layer3", FeatureInfo(16, 8), (512, 512), text, CPU) for text in ("fa:heads=1", DOT)]
    fa, nl = peaks([(row, (64, 64)) for row in rows], CPU)
    assert fa is not None
    assert nl is not None
    assert fa < 10_000_000
    assert nl == pytest.approx(4 * 4096**2, rel=0.1)
