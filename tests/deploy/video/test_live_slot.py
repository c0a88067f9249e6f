"""The slot of a live source, the times of its frames, and the addresses and options as they are typed."""

import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.addresses import live_source, shown
from rtseg.deploy.video.live_latency import Latency, parse_deadline
from rtseg.deploy.video.live_options import LiveOptions, live_options
from rtseg.deploy.video.live_slot import Slot
from rtseg.errors import UserError

_IMAGE = np.zeros((2, 2, 3), np.uint8)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["put", "take", "count"]), max_size=40), st.booleans())
def test_each_frame_is_taken_once_or_counted_as_dropped(steps: list[str], ended: bool) -> None:
    clock = itertools.count()
    slot = Slot(clock=lambda: next(clock))
    put, taken, dropped = 0, list[int](), 0  # of the model: since the last count
    waits = False
    for step in steps:
        if step == "put":
            slot.put(_IMAGE)
            put, dropped, waits = put + 1, dropped + waits, True
        elif step == "take":
            frame = slot.take(lambda: 0)
            assert (frame is not None) == waits
            if frame is not None:
                assert frame.number == put - 1, "the newest"
                taken.append(frame.number)
            waits = False
        elif not taken:  # before the first
            assert slot.count_anew() == put - waits
            put, dropped = int(waits), 0
        assert (slot.put_frames, slot.taken, slot.dropped) == (put, len(taken), dropped)
    assert taken == sorted(set(taken))
    if ended:
        slot.end()
        assert (slot.take(lambda: np.inf) is not None) == waits, "the last one can be taken"
        assert slot.take(lambda: np.inf) is None
    slot.stopped = True
    assert slot.dropped + slot.taken == slot.put_frames, "what waits at the end is dropped"
    slot.put(_IMAGE)
    assert slot.put_frames == put


def test_a_film_waits_for_the_network() -> None:
    slot, seen = Slot(whole=True), list[int]()

    def put_all() -> None:
        for _ in range(20):
            slot.put(_IMAGE)
        slot.end()

    thread = threading.Thread(target=put_all)
    thread.start()
    while (frame := slot.take(lambda: np.inf)) is not None:
        seen.append(frame.number)
    thread.join()
    assert (seen, slot.dropped) == (list(range(20)), 0)


def test_who_waits_is_let_go_when_the_slot_stops() -> None:
    slot = Slot()
    threading.Timer(0.05, lambda: setattr(slot, "stopped", True)).start()
    begin = time.monotonic()
    assert slot.take(lambda: np.inf) is None
    assert time.monotonic() - begin < 5


def test_percentiles_and_late_frames() -> None:
    latency = Latency(0.050)
    wholes = np.random.default_rng(0).permutation(np.arange(1, 1001)) / 10_000  # 0.1 to 100 ms
    for whole in wholes:
        latency.add([5.0, 5.0 + 0.2 * whole, 5.0 + 0.5 * whole, 5.0 + whole, 5.5 + whole])
    assert (latency.frames, latency.late) == (1000, sum(5.0 + whole - 5.0 > 0.050 for whole in wholes))
    rows = dict(latency.rows())
    assert rows["capture to overlay"] == pytest.approx([50, 95, 99], rel=0.004)
    assert rows["capture wait"] == pytest.approx([10, 19, 19.8], rel=0.004)
    assert rows["network"] == pytest.approx([15, 28.5, 29.7], rel=0.004)
    assert rows["drawing"] == pytest.approx([25, 47.5, 49.5], rel=0.004)
    assert rows["writing"] == pytest.approx([500] * 3, rel=0.004)
    line = latency.line()
    assert (line["deadline_ms"], line["late"]) == (50, latency.late)
    assert line["latency_ms"]["network"]["p50"] == pytest.approx(15, rel=0.004)
    assert latency.table()[-1] == f"late: {latency.late} of 1000 (50.0 %) after 50 ms"
    assert "late" not in Latency().line()


@pytest.mark.parametrize(("text", "seconds"), [("33ms", 0.033), ("0.05s", 0.05), (".5 s", 0.5), ("16.7ms", 0.0167)])
def test_deadlines(text: str, seconds: float) -> None:
    assert parse_deadline(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["33", "0ms", "-1ms", "ms", "1min", "61s", "1e3ms", "nan s", "", "٣ms"])
def test_other_deadlines_are_refused_with_good_ones(text: str) -> None:
    with pytest.raises(UserError, match=r"as 33ms or 0\.05s"):
        parse_deadline(text)


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("rtsp://ann:secret@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://ann:sec@ret/x#y@cam/live", "rtsp://***@cam/live"),
        ("rtsp://cam/user=ann&password=secret&channel=1", "rtsp://cam/user=***&password=***&channel=***"),
        ("http://cam/video?token=secret#secret", "http://cam/video?***"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("camera:0", "camera:0"),
        ("street@night.mp4", "street@night.mp4"),
    ],
)
def test_passwords_are_not_shown(address: str, seen: str) -> None:
    assert shown(address) == seen


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["camera:front"], "by its number, as in camera:0"),
        (["camera:"], "by its number"),
        (["Camera:1"], "which is written camera:1"),
        (["/dev/video2"], "which is written camera:2"),
        (["0"], "which is written camera:0"),
        (["rtps://ann:secret@cam/live"], "rtps:// is not read; give camera:0"),
        (["rtsp:///live"], "names no host"),
        (["udp://239.0.0.1"], "names no port"),
        (["http://cam:70000/"], "ports go up to 65535"),
        (["rtsp://ann:sec/ret@cam/live"], "/ is written %2F"),
        (["rtsp://ann:12/secret@cam/live"], "/ is written %2F"),
        (["a.png", "rtsp://ann:secret@cam/live"], "2 sources are given: give a camera or a stream alone"),
        (["camera:0", "camera:1"], "give a camera or a stream alone"),
    ],
)
def test_bad_addresses(sources: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        live_source(sources)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_good_addresses_and_options() -> None:
    assert live_source(["a.png", "b*.mp4"]) is None
    for address in ("camera:12", "rtsp://ann:secret@cam/live", "RTSP://cam", "http://[::1]:80/x", "udp://@:1234"):
        assert live_source([address]) == address
    assert live_options(["camera:0"], "33ms", 5, True) == LiveOptions(0.033, 5, True)
    assert live_options(["a.png"], None, None, False) == LiveOptions()
    for wrong in (("33ms", None, False), (None, 3.0, False), (None, None, True)):
        with pytest.raises(UserError, match="is for cameras and streams"):
            live_options(["a.mp4"], *wrong)
    with pytest.raises(UserError, match="--seconds"):
        live_options(["camera:0"], None, 0, False)
