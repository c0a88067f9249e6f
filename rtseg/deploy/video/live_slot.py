"""The newest frame of a live source, between the thread that decodes and the one that takes frames to the network."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np

from rtseg.command_line import catch_signals, restore_signals

LOOK = 0.05  # seconds after which a thread that waits looks whether it is to stop


@dataclass
class LiveFrame:
    """A frame of a live source.

    Attributes:
        number: of all that were decoded, from 0.
        image: (H, W, 3) uint8 BGR.
        captured: when it was decoded, by `time.monotonic`.
        at: of a film, seconds from its first frame to this one; None of a live source.
    """

    number: int
    image: np.ndarray
    captured: float
    at: float | None = None


class Slot:
    """Room for one frame: one that is put before the last was taken replaces it, which is then dropped.

    Args:
        whole: nothing is dropped; who puts a frame waits until the last was taken.
        clock: seconds.

    Attributes:
        put_frames: how many frames were put.
        taken: how many of them were taken.
        ended: no more frames are put; the last one can still be taken.
        stopped: from now on nothing is put or taken. A signal handler may set it: it waits for no lock.
    """

    def __init__(self, *, whole: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.whole, self._clock = whole, clock
        self._changed = threading.Condition()
        self._frame: LiveFrame | None = None
        self.put_frames = self.taken = 0
        self.ended = self.stopped = False

    @property
    def dropped(self) -> int:
        """Frames that can no longer be taken."""
        with self._changed:
            left = self._frame is not None and not self.stopped
            return self.put_frames - self.taken - left

    def put(self, image: np.ndarray, at: float | None = None) -> None:
        """Puts a frame that was decoded now, unless the slot has stopped."""
        captured = self._clock()
        with self._changed:
            while self.whole and self._frame is not None and not self.stopped:
                self._changed.wait(LOOK)
            if self.stopped:
                return
            self._frame = LiveFrame(self.put_frames, image, captured, at)
            self.put_frames += 1
            self._changed.notify_all()

    def end(self) -> None:
        """No more frames are put."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def count_anew(self) -> int:
        """Counts from the frame on that is there, or the next. -> how many went by before it."""
        with self._changed:
            here = int(self._frame is not None)
            passed, self.put_frames = self.put_frames - here, here
            if self._frame is not None:
                self._frame.number = 0
            return passed

    def take(self, until: Callable[[], float]) -> LiveFrame | None:
        """Waits for a frame and takes it.

        Args:
            until: the time at which it waits no longer; asked again while it waits.

        Returns:
            None when it is late, or no more frames come.
        """
        with self._changed:
            while self._frame is None and not self.ended and not self.stopped and self._clock() < until():
                self._changed.wait(LOOK)
            if self.stopped or self._frame is None:
                return None
            frame, self._frame = self._frame, None
            self.taken += 1
            self._changed.notify_all()
            return frame


@contextmanager
def ends_at_a_signal(slot: Slot) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP stops the slot; a second one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        slot.stopped = True
        restore_signals(previous)

    previous = catch_signals(stop)
    try:
        yield
    finally:
        restore_signals(previous)
