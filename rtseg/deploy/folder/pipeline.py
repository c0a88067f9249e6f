"""Items through three stages at once, read, predicted and written by threads, while the calling thread waits.

Counts are plain numbers, so that `settle` can be called from a signal handler, which interrupts the calling thread
wherever it is: it waits for no lock that this thread may hold.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from rtseg.deploy.folder.room import Room, Stopped
from rtseg.deploy.folder.stages import StageTimes

MOST_IMAGES = 16  # between reading and writing, at most
MOST_PIXELS = 2**25  # of them together, at most, unless one image alone has more
_WAKE = 0.05  # seconds after which the calling thread looks for a signal: the system may give it to another thread
_SETTLE = 10.0  # seconds that a signal waits for what is being written

Item = TypeVar("Item")


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
        predict: image -> prediction, one for each thread of this stage. The threads begin the items in their order.
        write: (item, image, prediction) -> result; several run at once, of different items.
        finish: (item, result, error) is called for each item in its order, one at a time, in a thread. Either is None.
            What it raises ends the pipeline.
        steady: (image, prediction) -> prediction, for predictions that depend on those before: called for each item in
            its order, one at a time, before it is written. None leaves them as they are.
        threads: for reading, and as many for writing.
        readers: for reading, where these are fewer: the frames of a film are read one after another.

    Attributes:
        times: how long each stage took.
        begun: how many items the network has begun.
    """

    def __init__(
        self,
        read: Callable[[Item, Callable[[int], None]], Any],
        predict: Sequence[Callable[[Any], Any]],
        write: Callable[[Item, Any, Any], Any],
        finish: Callable[[Item, Any, Exception | None], None],
        *,
        steady: Callable[[Any, Any], Any] | None = None,
        threads: int = 1,
        readers: int | None = None,
    ) -> None:
        self._read, self._predict, self._write, self._finish = read, predict, write, finish
        self._steady = steady
        self._threads, self._readers = threads, readers or threads
        self._room = Room(MOST_IMAGES, MOST_PIXELS)
        self._take, self._begin = threading.Lock(), threading.Lock()
        self._turn, self._steadying = threading.Lock(), threading.Lock()
        self._early: dict[int, _Job[Item]] = {}  # predicted, and one before them is not
        self._steadied = 0
        self._waiting: dict[int, tuple[_Job[Item], Any]] = {}  # written, and one before them is not
        self._jobs: SimpleQueue[_Job[Item] | None] = SimpleQueue()  # put here in order before they are read
        self._predicted: SimpleQueue[_Job[Item] | None] = SimpleQueue()
        self.begun = self._finished = 0
        self._settled = self._dropped = False
        self._failure: BaseException | None = None
        self.times = StageTimes({"reading": self._readers, "network": len(predict), "writing": threads})

    def run(self, items: Iterable[Item]) -> None:
        """Every item through all stages. Where an interrupt ends the run, what the network has begun is still written.

        Args:
            items: each is asked for when it is to be read; the time that this takes counts as reading.

        Raises:
            Exception: what `finish` or `items` raised. Errors of `read`, `predict` and `write` are of one item and go
                to `finish`.
        """
        left = iter(enumerate(items))
        readers = [self._thread(partial(self._read_all, left)) for _ in range(self._readers)]
        networks = [self._thread(partial(self._predict_all, predict)) for predict in self._predict]
        writers = [self._thread(self._write_all) for _ in range(self._threads)]
        try:
            for thread in (*readers, *networks, *writers):
                thread.start()
            _join(networks)
        finally:
            self._end()
            _join((*readers, *networks))
            for _ in writers:
                self._predicted.put(None)
            _join(writers)
        if self._failure is not None:
            raise self._failure

    def settle(self) -> None:
        """For a signal handler: waits until what the network has begun is written; from then on nothing is finished."""
        if self._settled:
            return
        self._settled = True
        until = time.monotonic() + _SETTLE
        while self._finished < self.begun and time.monotonic() < until:
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
        self._end()

    def _end(self) -> None:
        """No further item is read or begun."""
        self._room.close()
        self._jobs.put(None)

    def _timed(self, job: _Job[Item], stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """What a job's work in a stage returns; None where it fails, which is the job's error, or has failed before."""
        if job.error is not None:
            return None
        begin = time.perf_counter()
        try:
            result = work(*arguments)
        except Stopped:
            raise
        except Exception as error:
            job.error = error
            return None
        job.seconds[stage], job.waited = time.perf_counter() - begin - job.waited, 0.0
        return result

    def _read_all(self, left: Iterator[tuple[int, Item]]) -> None:
        while not self._room.closed:
            with self._take:
                begin = time.perf_counter()
                if (entry := next(left, None)) is None:
                    self._jobs.put(None)
                    return
                job = _Job(*entry)
                job.waited = begin - time.perf_counter()  # less than nothing: a film's frame is decoded when asked for
                self._jobs.put(job)
            try:
                job.image = self._timed(job, "reading", self._read, job.item, partial(self._admit, job))
                if job.pixels is None:  # it failed before it was admitted, and is reported in its turn
                    self._admit(job, 0)
            except Stopped:
                return
            finally:
                job.is_read.put(None)

    def _admit(self, job: _Job[Item], pixels: int) -> None:
        begin = time.perf_counter()
        self._room.enter(job.number, pixels)
        job.pixels = pixels
        job.waited += time.perf_counter() - begin

    def _predict_all(self, predict: Callable[[Any], Any]) -> None:
        while (job := self._next_job()) is not None:
            try:
                job.prediction = self._timed(job, "network", predict, job.image)
            finally:  # the items behind it wait for their turn
                self._pass_on(job)

    def _pass_on(self, job: _Job[Item]) -> None:
        """Hands an item to the writers. Where it is to be steadied: with those that waited for it, or leaves it to the
        thread of one before it, so that no thread waits for another. Items are begun in order, so each has its turn.
        """
        if self._steady is None:
            self._predicted.put(job)
            return
        with self._steadying:
            self._early[job.number] = job
            while (ready := self._early.pop(self._steadied, None)) is not None:
                self._steadied += 1
                ready.prediction = self._timed(ready, "steadying", self._steady, ready.image, ready.prediction)
                self._predicted.put(ready)

    def _next_job(self) -> _Job[Item] | None:
        """The next item, read; None at the end. One thread at a time, so that those begun are the first ones."""
        with self._begin:
            job = self._jobs.get()
            if job is not None:
                job.is_read.get()
            if job is None or job.pixels is None or self._room.closed or self._settled:
                self._jobs.put(None)  # for the other threads
                return None
            self.begun += 1
            return job

    def _write_all(self) -> None:
        while (job := self._predicted.get()) is not None:
            result = None
            if not self._dropped:
                result = self._timed(job, "writing", self._write, job.item, job.image, job.prediction)
            job.image = job.prediction = None
            self._finish_in_turn(job, result)

    def _finish_in_turn(self, job: _Job[Item], result: Any) -> None:
        """Finishes this item and those that waited for it, or leaves it to the writer of one before it.

        Counts items also where nothing may be finished any more: `settle` waits for them.
        """
        with self._turn:
            self._waiting[job.number] = job, result
            while (entry := self._waiting.pop(self._finished, None)) is not None:
                self._finish_one(*entry)
                self._finished += 1

    def _finish_one(self, job: _Job[Item], result: Any) -> None:
        try:
            if not self._dropped:
                self.times.add(job.seconds)
                self._finish(job.item, result, job.error)
        except BaseException as error:
            self._fail(error)
        self._room.leave(job.pixels or 0)


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(_WAKE)
