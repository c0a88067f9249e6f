"""A live source through a network: the newest frame whenever the network is free, and where its time goes.

Frames go through the pipeline of images, with one network thread on all cores, since a frame's way counts here and not
how many are on their way. A frame is taken only when the network is free and a thread that draws is soon, so that it
is the newest, and waits nowhere. Frames that came in between are dropped and counted.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from rtseg.deploy.device import torch_threads
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.lanes import lanes
from rtseg.deploy.folder.pipeline import Pipeline
from rtseg.deploy.folder.stages import Speed, StageTimes
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.film_results import Drawn, Written
from rtseg.deploy.video.live_latency import Latency
from rtseg.deploy.video.live_slot import LOOK, LiveFrame
from rtseg.deploy.video.live_source import LiveSource
from rtseg.deploy.video.steady import Steady
from rtseg.errors import UserError
from rtseg.terminal import Console, counted, say

_STEP = 0.001  # seconds between two frames, at least: Matroska has milliseconds


@dataclass
class _Passing:
    """A frame on its way, with the times that `Latency.add` takes."""

    frame: LiveFrame
    times: list[float] = field(default_factory=list)


class LiveRun:
    """A live source through a network, to where its frames go.

    Args:
        source: is open.
        predictor: whose class maps they are.
        film: where the frames go.
        line: what a record says of the source, is completed at the end.
        steady: whether class maps are steadied.
        counts: is kept up to date.
    """

    def __init__(
        self,
        source: LiveSource,
        predictor: Predictor,
        film: Written,
        line: dict[str, Any],
        *,
        steady: bool,
        counts: Counts,
    ) -> None:
        self._source, self._predictor, self._film, self._line = source, predictor, film, line
        self._steady, self._counts = Steady() if steady else None, counts
        self._latency = Latency(source.options.deadline)
        self._first = self._at = 0.0
        self._passed = 0

    def write_all(self, threads: int, console: Console) -> None:
        """Writes the frames. However it ends, what is written plays, and stands in the record.

        Raises:
            UserError: a frame fails, or cannot be written.
        """
        self._lane = lanes(self._predictor, 1)[0]
        self._network_is_free, self._room = threading.Semaphore(1), threading.Semaphore(1 + threads)
        self._times = StageTimes({"network": 1, "drawing": threads, "encoding": 1})
        self._speed = Speed(self._times)
        use = Predictor.classes_of if self._steady is None else Predictor.prediction_of
        self._lane.predict(use, np.zeros((*self._source.size, 3), np.uint8))  # builds the engine
        self._passed = self._source.slot.count_anew()
        pipeline = Pipeline[_Passing](
            read=self._read, predict=[self._predict], write=self._draw, finish=self._finish, threads=threads, readers=1
        )
        self._pipeline, self._counts.settle = pipeline, pipeline.settle
        columns = (
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        try:
            with Progress(*columns, console=console) as self._progress:
                self._task = self._progress.add_task("live", total=None, now="")
                self._start = time.monotonic()
                with torch_threads(torch.get_num_threads()):
                    pipeline.run(self._turns())
        except BaseException:
            with suppress(UserError):  # the first error says more
                self._close()
            raise
        self._close()

    def _turns(self) -> Iterator[_Passing]:
        with closing(self._source.frames()) as frames:
            while self._waits_for(self._network_is_free) and self._waits_for(self._room):
                if (frame := next(frames, None)) is None:
                    return
                yield _Passing(frame, [frame.captured])

    def _waits_for(self, turn: threading.Semaphore) -> bool:
        """Whether it came before the source was stopped."""
        while not self._source.slot.stopped:
            if turn.acquire(timeout=LOOK):
                return True
        return False

    def _read(self, passing: _Passing, admit: Callable[[int], None]) -> tuple[_Passing, np.ndarray]:
        admit(math.prod(self._source.size))
        return passing, self._source.rgb(passing.frame)

    def _predict(self, read: tuple[_Passing, np.ndarray]) -> np.ndarray:
        passing, image = read
        try:
            passing.times.append(time.monotonic())
            if self._steady is None:
                classes = self._lane.predict(Predictor.classes_of, image)
            else:
                classes = self._steady.next(image, self._lane.predict(Predictor.prediction_of, image))
            passing.times.append(time.monotonic())
            return classes
        finally:
            self._network_is_free.release()

    def _draw(self, passing: _Passing, read: tuple[_Passing, np.ndarray], classes: np.ndarray) -> tuple[Drawn, float]:
        begin = time.monotonic()
        drawn = self._film.draw(read[1], classes)
        passing.times.append(end := time.monotonic())
        return drawn, end - begin

    def _finish(self, passing: _Passing, found: tuple[Drawn, float] | None, error: Exception | None) -> None:
        """Hands a frame to the encoders, in the order of the frames."""
        source, frame = self._source, passing.frame
        try:
            if error is not None or found is None:
                raise UserError(f"{source.name}: frame {frame.number + 1}: {error}") from error
            begin = time.monotonic()
            self._film.write(found[0], self._shown_at(frame))
            passing.times.append(end := time.monotonic())
        except BaseException:
            source.slot.stopped = True
            raise
        finally:
            self._room.release()
        network = passing.times[2] - passing.times[1]
        self._times.add({"network": network, "drawing": found[1], "encoding": end - begin})
        self._latency.add(passing.times)
        self._counts.frames = self._film.frames
        self._speed.add(end - self._start, self._pipeline.begun, written=True)
        self._progress.update(self._task, now=f"{self._speed.text()}; {source.slot.dropped} dropped")

    def _shown_at(self, frame: LiveFrame) -> float:
        """Seconds from the first frame that is written to this one."""
        if frame.at is not None:
            return frame.at
        if not self._film.frames:
            self._first, self._at = frame.captured, -_STEP
        self._at = max(frame.captured - self._first, self._at + _STEP)
        return self._at

    def _close(self) -> None:
        """Ends the files, with what the record says of the source.

        Raises:
            UserError: a file cannot be ended.
        """
        self._source.close()  # from now on nothing is counted
        slot = self._source.slot
        self._line |= {"captured": slot.put_frames, "dropped": slot.put_frames - self._film.frames}
        self._line |= {"before": self._passed, "losses": self._source.losses}
        if not self._source.stated:
            self._line |= self._latency.line()
        self._film.close()

    def summarise(self) -> None:
        """Says what there is to say of the source, what was written, how fast, and how late."""
        for note in self._source.notes():
            say(note)
        if not self._film.frames:
            say(f"{self._source.name}: it was stopped before a frame was written")
            return
        self._film.summarise()
        say(f"{counted(self._film.frames, 'frame')} in {self._speed.sentence()}; {self._predictor.runner.taken()}")
        if self._source.stated:  # a film, whose frames wait
            return
        came, dropped = self._line["captured"], self._line["dropped"]
        before = f"; {self._passed} before it, while the network was made ready" if self._passed else ""
        say(f"{counted(came, 'frame')} came, {dropped} of them dropped for newer ones{before}")
        for line in self._latency.table():
            say(line)
