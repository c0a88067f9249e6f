"""How many images of a pipeline are in memory at once."""

import threading


class Stopped(Exception):
    """An image that waited for room will not be read: the pipeline has stopped."""


class Room:
    """Admits images in their order, while they are few and small enough to be held at once."""

    def __init__(self, images: int, pixels: int) -> None:
        self._most_images, self._most_pixels = images, pixels
        self._images = self._pixels = self._next = 0
        self._changed = threading.Condition()
        self.closed = False

    def enter(self, number: int, pixels: int) -> None:
        """Waits until item `number` is the next, and has room.

        Raises:
            Stopped: the room is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self._next == number and self._fits(pixels)))
            if self.closed:
                raise Stopped
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
