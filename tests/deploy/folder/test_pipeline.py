"""Three stages at once: in order, within bounds, errors of their own, and nothing that survives."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtseg.deploy.folder.pipeline import MOST_IMAGES, MOST_PIXELS, Pipeline
from rtseg.deploy.folder.stages import Speed, StageTimes


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Work:
    """Items are numbers; every stage takes a random time and notes what it did."""

    def __init__(self, pixels: Callable[[int], int] = lambda item: 1) -> None:
        self.pixels, self.draw = pixels, random.Random(3)
        self.finished: list[tuple[int, Any, str | None]] = []
        self.inside: dict[int, int] = {}
        self.most_images = self.most_pixels = 0
        self.faults: dict[tuple[str, int], BaseException] = {}
        self.slow = 0.001

    def do(self, stage: str, item: int) -> None:
        time.sleep(self.slow * self.draw.random())
        if (fault := self.faults.get((stage, item))) is not None:
            raise fault

    def read(self, item: int, admit: Callable[[int], None]) -> str:
        self.do("header", item)
        admit(self.pixels(item))
        self.inside[item] = self.pixels(item)
        self.most_images = max(self.most_images, len(self.inside))
        self.most_pixels = max(self.most_pixels, sum(self.inside.copy().values()))
        self.do("read", item)
        return f"image {item}"

    def predict(self, image: str) -> str:
        self.do("predict", int(image.split()[1]))
        return f"classes of {image}"

    def write(self, item: int, image: str, prediction: str) -> str:
        self.do("write", item)
        assert prediction == f"classes of {image}"
        return f"files of {image}"

    def finish(self, item: int, result: str | None, error: Exception | None) -> None:
        self.inside.pop(item, None)
        self.finished.append((item, result, type(error).__name__ if error else None))
        self.do("finish", item)

    def run(self, items: int, threads: int = 1) -> Pipeline[int]:
        networks = [self.predict] * threads
        pipeline = Pipeline[int](self.read, networks, self.write, self.finish, threads=threads)
        pipeline.run(range(items))
        return pipeline


@pytest.mark.parametrize("threads", [1, 3])
def test_everything_in_order_and_errors_item_by_item(threads: int) -> None:
    work = Work()
    stages = ("header", "read", "predict", "write")
    work.faults = {(stage, 5 * k + 2): MemoryError() for k, stage in enumerate(stages)}
    times = work.run(60, threads).times.milliseconds()
    failing = {2, 7, 12, 17}
    expected = [(k, None, "MemoryError") if k in failing else (k, f"files of image {k}", None) for k in range(60)]
    assert work.finished == expected
    assert set(times) == {"reading", "network", "writing"}
    assert all(0 < value < 50 for value in times.values())
    work.run(0, threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_predictions_that_depend_on_those_before_are_steadied_in_order(threads: int) -> None:
    work, seen = Work(), list[int]()
    work.slow = 0.003
    work.faults = {("read", 5): MemoryError(), ("predict", 9): MemoryError()}

    def steady(image: str, prediction: str) -> str:
        seen.append(int(image.split()[1]))
        if seen[-1] == 20:
            raise MemoryError
        return prediction

    networks = [work.predict] * threads
    pipeline = Pipeline[int](work.read, networks, work.write, work.finish, steady=steady, threads=2)
    pipeline.run(range(50))
    assert seen == [k for k in range(50) if k not in (5, 9)]
    assert [item for item, _, error in work.finished if error] == [5, 9, 20]
    assert len(work.finished) == 50
    assert "steadying" in pipeline.times.milliseconds()


def test_at_most_so_many_images_and_pixels_are_inside() -> None:
    few = Work()
    slow_end = threading.Event()
    write = few.write

    def late(item: int, image: str, prediction: str) -> str:
        slow_end.wait(0.05 if item == 0 else 0)
        return write(item, image, prediction)

    few.write = late  # type: ignore[method-assign]
    few.run(100, 2)
    assert 4 < few.most_images <= MOST_IMAGES
    large = Work(lambda item: (MOST_PIXELS // 3 + 1, MOST_PIXELS // 5, 2 * MOST_PIXELS)[item % 3])
    large.run(30, 3)
    assert [item for item, _, _ in large.finished] == list(range(30))
    assert large.most_pixels == 2 * MOST_PIXELS, "a larger image is there alone"


@pytest.mark.parametrize("stage", ["finish", "predict"])
def test_the_end_writes_what_the_network_has_done(stage: str) -> None:
    work = Work()
    work.faults = {(stage, 20): ValueError("end") if stage == "finish" else KeyboardInterrupt()}
    with pytest.raises(ValueError if stage == "finish" else KeyboardInterrupt):
        work.run(1000, 2)
    done = [item for item, _, _ in work.finished]
    assert done == list(range(21)) if stage == "finish" else done == list(range(len(done)))


def test_a_signal_waits_for_what_is_written_and_nothing_follows() -> None:
    counted: list[int] = []

    def stop(number: int, frame: object) -> None:
        pipeline.settle()
        pipeline.settle()
        counted.append(len(work.finished))
        raise SystemExit(75)

    def predict(image: str) -> str:
        if image == "image 30":
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.005)
        return f"classes of {image}"

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        for _ in range(5):
            work = Work()
            pipeline = Pipeline[int](work.read, [predict] * 2, work.write, work.finish, threads=2)
            with pytest.raises(SystemExit):
                pipeline.run(range(100))
            assert [item for item, _, _ in work.finished] == list(range(counted[-1]))
            assert 31 <= pipeline.begun == counted[-1] <= 60
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert len(counted) == 5


def test_the_slowest_stage_is_that_of_the_longest_time_by_thread() -> None:
    times = StageTimes({"reading": 4, "network": 1})
    assert (times.slowest(), times.milliseconds()) == ("", {})
    times.add({"reading": 9})
    assert times.milliseconds() == {"reading": 2250}
    times.add({"reading": 0.06, "network": 10})
    times.add({"reading": 0.1, "network": 0.0284})
    times.add({"network": 0.0284})
    assert times.milliseconds() == pytest.approx({"reading": 25, "network": 28.4}), "without each thread's first"
    assert times.slowest() == "network, 28.4 ms"
    times.add({"network": 70})
    assert times.slowest() == "network, 23352 ms"


def test_the_speed_is_that_after_the_first_image_of_what_the_network_did_after_it() -> None:
    times = StageTimes({"network": 1})
    times.add({"network": 0.1})
    speed = Speed(times)
    assert speed.text() == ""
    speed.add(1.0, 1, written=False)
    speed.add(10.0, 3, written=True)  # the network had done two more while this one was being written
    assert speed.sentence() == "10.0 s, slowest stage: network, 100 ms"
    speed.add(10.01, 3, written=True)
    assert speed.sentence() == "10.0 s, 0.2 images/s; slowest stage: network, 100 ms"
    speed.add(10.02, 4, written=True)
    for seconds in (11.0, 12.0, 13.0, 14.0):
        speed.add(seconds, 8, written=True)
    assert speed.sentence() == "14.0 s, 10.0 s until the first, then 1 images/s; slowest stage: network, 100 ms"
