"""A camera or a stream: a thread decodes its frames as they come, and the network takes the newest.

A stream that states how many frames it has is a film on a server: it waits for the network, and nothing is dropped.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator

import cv2
import numpy as np

from rtseg.addresses import camera_number, shown
from rtseg.deploy.video.live_errors import nothing_to_open
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.live_slot import LOOK, LiveFrame, Slot
from rtseg.deploy.video.reader import FilmTimes
from rtseg.errors import UserError
from rtseg.terminal import counted

_RATE = 25.0  # images per second where none is stated
_LEAVE = 2.0  # seconds that the end waits for the thread, which may hang in a driver
_HELD_BACK = 1.0  # seconds
_MOST_PAUSE = 30.0  # seconds between two attempts to connect again


class LiveSource:
    """A camera or a stream that is open, and has given its first frame.

    Args:
        address: as `rtseg.addresses.live_source` gives it.
        options: how it is taken.
        tell: is given a sentence when the source is lost and when it is back.

    Attributes:
        options: as given.
        name: the address without passwords.
        slot: counts the frames.
        size: (height, width) of the first frame, and so of all.
        rate: images per second that are stated, or 25.
        stated: frames of a film on a server; 0 of a live source.
        ended: whether it ended of its own.
        losses: how often it ended or was lost, and was to be opened again.
        failure: why it ended, where that is an error.

    Raises:
        UserError: it cannot be opened, gives no frame, or its frames are too large.
    """

    def __init__(self, address: str, options: LiveOptions, tell: Callable[[str], None] = lambda text: None) -> None:
        self.name, self.slot, self.size = shown(address), Slot(), (0, 0)
        self.rate, self.stated, self.losses = _RATE, 0, 0
        self.failure: UserError | None = None
        self.options, self._address, self._tell = options, address, tell
        self._resized: tuple[int, int] | None = None
        self._newest, self._silent, self.ended = time.monotonic(), -math.inf, False  # when a silence was over
        self._film: cv2.VideoCapture | None = None
        self._has_begun = threading.Event()
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its sentences have the address with its password
        self._logging = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._thread = threading.Thread(target=self._read_all, daemon=True)  # it may hang in a driver
        self._thread.start()
        try:
            while not self._has_begun.wait(LOOK):  # short, so that a signal is heard
                pass
            if self.size == (0, 0):
                raise self.failure or self._nothing_came()
        except BaseException:
            self.close()
            raise

    def frames(self) -> Generator[LiveFrame]:
        """The newest frame whenever one is asked for, until the source ends, is lost, or is stopped."""
        end = time.monotonic() + (self.options.seconds or math.inf)
        # The thread notices a loss itself, a little earlier, unless it hangs. A film's waits for the network.
        limit = math.inf if self.options.reconnect or self.stated else self.options.patience + 1
        try:
            while time.monotonic() < end:
                frame = self.slot.take(lambda: min(end, self._newest + limit))
                if frame is None:
                    break
                yield frame
            self.ended = self.slot.ended and not self.slot.stopped
            if not self.ended and not self.slot.stopped and time.monotonic() < end:
                self.failure = self.failure or self._lost()
        finally:
            self.slot.stopped = True

    def rgb(self, frame: LiveFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the first frame's size."""
        image = frame.image
        if image.shape[:2] != self.size:
            self._resized = (image.shape[0], image.shape[1])
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def notes(self) -> list[str]:
        """What is to be said of the source at its end."""
        found = list[str]()
        if self._resized:
            now, first = (f"{height}x{width}" for height, width in (self._resized, self.size))
            found.append(f"{self.name}: frames of {now} came, too (height x width); they became {first}, as the first")
        if self.losses:
            found.append(f"{self.name}: was lost {counted(self.losses, 'time')}")
        if self.ended and self.failure is None:
            if not self.stated:
                found.append(f"{self.name}: the stream has ended; a lost one may look the same, see --reconnect")
            elif self.slot.put_frames < 0.98 * self.stated:  # some films state an estimate
                found.append(f"{self.name}: ends at frame {self.slot.put_frames} of the {self.stated} that it states")
        return found

    def close(self) -> None:
        """Ends the source."""
        self.slot.stopped = True
        self._thread.join(_LEAVE)
        cv2.utils.logging.setLogLevel(self._logging)

    def _read_all(self) -> None:
        try:
            if self._open():
                self._drain()
                while self.options.reconnect and not self.stated and not self.slot.stopped and self.failure is None:
                    self.losses += 1
                    self._tell(f"{self.name}: lost, {counted(self.losses, 'time')} so far; trying again")
                    if self._open_again():
                        self._drain()
            elif not self.slot.stopped:
                self.failure = self.failure or nothing_to_open(self._address, self.options.patience)
        except Exception as error:  # OpenCV's, of whatever a stream may hold
            self.failure = UserError(f"{self.name}: {error}")
        finally:
            if self._film is not None:
                self._film.release()
            self.slot.end()
            self._has_begun.set()

    def _open(self) -> bool:
        """Whether it is open."""
        self._film = _opened(self._address, self.options.patience)
        if not self._film.isOpened():
            return False
        self._newest = time.monotonic()
        rate = self._film.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0.1 <= rate <= 1000 else _RATE
        stated = self._film.get(cv2.CAP_PROP_FRAME_COUNT)
        if 0 < stated < 2**31 and self._address.lower().startswith("http"):
            self.stated, self.slot.whole = round(stated), True
            self._times = FilmTimes(self.rate)
        pixels = self._film.get(cv2.CAP_PROP_FRAME_HEIGHT) * self._film.get(cv2.CAP_PROP_FRAME_WIDTH)
        return self._fits(round(pixels))

    def _fits(self, pixels: int) -> bool:
        if pixels > self.options.max_pixels:
            self.failure = UserError(
                f"{self.name}: its frames have {pixels:,} pixels, more than {self.options.max_pixels:,}; give a "
                "larger --max-pixels, or set the camera to a smaller size"
            )
        return pixels <= self.options.max_pixels

    def _open_again(self) -> bool:
        """Whether it is open again; False where it is to stop, or is not what it was."""
        pause = self.options.pause
        while not self.slot.stopped and self.failure is None:
            if self._film is not None:
                self._film.release()
            until = time.monotonic() + pause
            while not self.slot.stopped and (left := until - time.monotonic()) > 0:
                time.sleep(min(LOOK, left))
            if not self.slot.stopped and self._open():
                return True
            pause = min(2 * pause, _MOST_PAUSE)
        return False

    def _drain(self) -> None:
        """Decodes what comes until nothing comes any more."""
        while not self.slot.stopped and self._grab():
            pass
        # After a silence FFmpeg still gives the frames that its decoder held back.
        silent = time.monotonic() - self._silent < _HELD_BACK
        if silent and not self.slot.stopped and not self.options.reconnect:
            self.failure = self.failure or self._lost()

    def _grab(self) -> bool:
        """Decodes a frame, if it can be, into the slot. -> whether the source goes on."""
        assert self._film is not None
        asked = time.monotonic()
        goes_on = self._film.grab()
        if time.monotonic() - asked > 0.9 * self.options.patience:
            self._silent = time.monotonic()
        if not goes_on:
            return False
        at = self._times.next(self._film.get(cv2.CAP_PROP_POS_MSEC) / 1000) if self.stated else None
        there, image = self._film.retrieve()
        if there and not self._fits(image.shape[0] * image.shape[1]):
            return False
        if there:
            self._newest = time.monotonic()
            self.slot.put(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), at)
            self.size = self.size if any(self.size) else (image.shape[0], image.shape[1])
            self._has_begun.set()
        return True

    def _nothing_came(self) -> UserError:
        repair = "is its codec one that OpenCV reads, and does no other program use it?"
        if self._address.lower().startswith("http"):
            repair = (
                "some servers need films with the index first: `ffmpeg -i FILM -c copy -movflags +faststart new.mp4`"
            )
        return UserError(f"'{self.name}' can be opened, and gives no frame: {repair}")

    def _lost(self) -> UserError:
        return UserError(
            f"{self.name}: no frame came for {self.options.patience:g} s; what came before is written, and "
            "--reconnect tries again"
        )


def _opened(address: str, patience: float) -> cv2.VideoCapture:
    number = camera_number(address)
    if number is not None:
        return cv2.VideoCapture(number, cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY)
    scheme, _, rest = address.partition("://")
    wait = round(1000 * patience)
    how = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait]
    if "OPENCV_FFMPEG_THREADS" not in os.environ:
        how += [cv2.CAP_PROP_N_THREADS, 1]  # each further thread of FFmpeg's would hold back a frame
    return cv2.VideoCapture(f"{scheme.lower()}://{rest}", cv2.CAP_FFMPEG, how)
