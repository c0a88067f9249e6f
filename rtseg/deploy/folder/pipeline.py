"""Items through three stages at once: read by threads, predicted by the calling thread, written by threads.

Queues are `SimpleQueue`s and counts are plain numbers, so that `settle` can be called from a signal handler, which
interrupts the calling thread wherever it is: it waits for no lock that this thread may hold.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from rtseg.deploy.folder.stages import StageTimes

MOST_IMAGES = 16  # between reading and writing, at most
MOST_PIXELS = 2**25  # of them together, at most, unless one image alone has more
_SETTLE = 10.0  # seconds that a signal waits for what is being written

Item = TypeVar("Item")


class _Stopped(Exception):
    """An image that waited for room will not be read: the pipeline has stopped."""


class _Room:
    """Admits images in their order, while they are few and small enough to be held at once."""

    def __init__(self, images: int, pixels: int) -> None:
        self._most_images, self._most_pixels = images, pixels
        self._images = self._pixels = self._next = 0
        self._changed = threading.Condition()
        self.closed = False

    def enter(self, number: int, pixels: int) -> None:
        """Waits until item `number` is the next, and has room.

        Raises:
            _Stopped: the room is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self._next == number and self._fits(pixels)))
            if self.closed:
                raise _Stopped
            self._images, self._pixels, self._next = self._images + 1, self._pixels + pixels, number + 1
            self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        few = self._images < self._most_images and self._pixels + pixels <= self._most_pixels
        return few or self._images == 0

    def leave(self, pixels: int) -> None:
        with self._changed:
            self._images, self._pixels = self._images - 1, self._pixels - pixels
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class _Job(Generic[Item]):
    """An item on its way."""

    def __init__(self, number: int, item: Item) -> None:
        self.number, self.item = number, item
        self.pixels: int | None = None  # None until it is admitted
        self.image: Any = None
        self.prediction: Any = None
        self.error: Exception | None = None
        self.seconds: dict[str, float] = {}
        self.waited = 0.0  # seconds in a stage that were no work
        self.is_read: SimpleQueue[None] = SimpleQueue()


class Pipeline(Generic[Item]):
    """Reads, predicts and writes items at the same time, and finishes them in their order.

    At most `MOST_IMAGES` images of together `MOST_PIXELS` pixels are between reading and writing; a larger image is
    there alone. Each reader may hold the undecoded bytes of one more file.

    Args:
        read: (item, admit) -> image; calls `admit(pixels)` before it makes room for the pixels.
        predict: image -> prediction; runs in the thread that calls `run`.
        write: (item, image, prediction) -> result; several run at once, of different items.
        finish: (item, result, error) is called for each item in its order, one at a time, in a thread. Either is None.
            What it raises ends the pipeline.
        threads: for reading, and as many for writing.

    Attributes:
        times: how long each stage took.
        sent: how many items the network has done.
    """

    def __init__(
        self,
        read: Callable[[Item, Callable[[int], None]], Any],
        predict: Callable[[Any], Any],
        write: Callable[[Item, Any, Any], Any],
        finish: Callable[[Item, Any, Exception | None], None],
        *,
        threads: int = 1,
    ) -> None:
        self._read, self._predict, self._write, self._finish = read, predict, write, finish
        self._threads = threads
        self._room = _Room(MOST_IMAGES, MOST_PIXELS)
        self._take = threading.Lock()
        self._turn = threading.Condition()
        self._jobs: SimpleQueue[_Job[Item] | None] = SimpleQueue()  # in order, put here before they are read
        self._predicted: SimpleQueue[_Job[Item] | None] = SimpleQueue()
        self.sent = self._finished = 0
        self._settled = self._dropped = False
        self._failure: BaseException | None = None
        self.times = StageTimes({"reading": threads, "network": 1, "writing": threads})

    def run(self, items: Sequence[Item]) -> None:
        """Every item through all stages. Where an interrupt ends the run, what the network has done is still written.

        Raises:
            Exception: what `finish` raised. Errors of `read`, `predict` and `write` are of one item and go there.
        """
        left = iter(enumerate(items))
        readers = [self._thread(lambda: self._read_all(left)) for _ in range(self._threads)]
        writers = [self._thread(self._write_all) for _ in range(self._threads)]
        try:
            for thread in (*readers, *writers):
                thread.start()
            for _ in items:
                job = self._jobs.get()
                if job is None:
                    break
                job.is_read.get()
                if self._failure or job.pixels is None:
                    break
                job.prediction = self._timed(job, "network", self._predict, job.image)
                self._predicted.put(job)
                self.sent += 1  # after it is there: a signal between the two waits for one item less, not for ever
        finally:
            self._room.close()
            for _ in writers:
                self._predicted.put(None)
            for thread in (*readers, *writers):
                if thread.ident is not None:
                    thread.join()
        if self._failure is not None:
            raise self._failure

    def settle(self) -> None:
        """For a signal handler: waits until what the network has done is written; from then on nothing is finished."""
        if self._settled:
            return
        self._settled = True
        until = time.monotonic() + _SETTLE
        while self._finished < self.sent and time.monotonic() < until:
            time.sleep(0.002)
        self._dropped = True

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                target()
            except BaseException as error:  # a bug in here must not leave the others waiting
                self._fail(error)

        return threading.Thread(target=guarded, daemon=True)  # a second signal may skip the end of `run`

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._dropped = True
        self._room.close()
        self._jobs.put(None)

    def _timed(self, job: _Job[Item], stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """What a job's work in a stage returns; None where it fails, which is the job's error, or has failed before."""
        if job.error is not None:
            return None
        begin = time.perf_counter()
        try:
            result = work(*arguments)
        except _Stopped:
            raise
        except Exception as error:
            job.error = error
            return None
        job.seconds[stage], job.waited = time.perf_counter() - begin - job.waited, 0.0
        return result

    def _read_all(self, left: Any) -> None:
        while not self._room.closed:
            with self._take:
                if (entry := next(left, None)) is None:
                    return
                job = _Job(*entry)
                self._jobs.put(job)
            try:
                job.image = self._timed(job, "reading", self._read, job.item, partial(self._admit, job))
                if job.pixels is None:  # it failed before it was admitted, and is reported in its turn
                    self._admit(job, 0)
            except _Stopped:
                return
            finally:
                job.is_read.put(None)

    def _admit(self, job: _Job[Item], pixels: int) -> None:
        begin = time.perf_counter()
        self._room.enter(job.number, pixels)
        job.pixels, job.waited = pixels, time.perf_counter() - begin

    def _write_all(self) -> None:
        while (job := self._predicted.get()) is not None:
            result = None
            if not self._dropped:
                result = self._timed(job, "writing", self._write, job.item, job.image, job.prediction)
            job.image = job.prediction = None
            self._finish_one(job, result)

    def _finish_one(self, job: _Job[Item], result: Any) -> None:
        """In the jobs' order. Counts the job also where nothing may be finished any more: `settle` waits for it."""
        with self._turn:
            self._turn.wait_for(lambda: self._finished == job.number)
            try:
                if not self._dropped:
                    self.times.add(job.seconds)
                    self._finish(job.item, result, job.error)
            except BaseException as error:
                self._fail(error)
            finally:
                self._finished += 1
                self._turn.notify_all()
        self._room.leave(job.pixels or 0)
