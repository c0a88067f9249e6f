"""An MJPEG stream over HTTP on loopback, as cameras send it, whose frames carry their number in their pixels."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

_BITS = 16  # of a frame's number, each a column of the image


def numbered(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the bits of the number as black and white columns, which JPEG does not blur away."""
    bits = [255 * (number >> k & 1) for k in range(_BITS)]
    row = np.repeat(np.array(bits, np.uint8), -(-size[1] // _BITS))[: size[1]]
    return np.broadcast_to(row[None, :, None], (*size, 3)).copy()


def number_of(image: np.ndarray) -> int:
    """The number that `numbered` drew; (H, W) or (H, W, 3)."""
    step = -(-image.shape[1] // _BITS)
    row = image.reshape(*image.shape[:2], -1)[image.shape[0] // 2, step // 2 :: step, 0]
    return sum(int(value > 127) << k for k, value in enumerate(row))


@dataclass
class Stream:
    """What the server sends, and what it has sent.

    Attributes:
        fps: frames a second; None as fast as they are taken.
        visits: for each connection the numbers of frames that it gets, one after another; the last serves all others.
        go: before the frame of this number the server waits for this event; None for no such frame.
        hang: connections stay open, and silent, after their last frame.
        size: of a frame by its number.
        sent: the numbers of the frames that were sent whole.
        status: of the answers.
    """

    visits: Sequence[range]
    fps: float | None = None
    go: tuple[int, threading.Event] | None = None
    hang: bool = False
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    status: int = 200
    url: str = ""
    sent: list[int] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def frames(self, visit: int) -> Iterator[bytes]:
        """The parts of a connection's answer, in time."""
        begin = time.monotonic()
        size = (48, 64)
        for count, number in enumerate(self.visits[min(visit, len(self.visits) - 1)]):
            size = self.sizes.get(number, size)
            data = cv2.imencode(".jpg", numbered(number, size), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            if self.go is not None and number == self.go[0]:
                self.go[1].wait(60)
                begin = time.monotonic() - count / (self.fps or 1)
            if self.fps:
                self.over.wait(max(0.0, begin + count / self.fps - time.monotonic()))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
            self.sent.append(number)


@contextmanager
def serving(stream: Stream) -> Iterator[Stream]:
    """A server of the stream, which gets its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visit, stream.connections = stream.connections, stream.connections + 1
            self.send_response(stream.status)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):
                for part in stream.frames(visit):
                    self.wfile.write(part)
                    self.wfile.flush()
                if stream.hang:
                    stream.over.wait()

        def log_message(self, format: str, *words: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    stream.url = f"http://127.0.0.1:{server.server_address[1]}/video"
    try:
        yield stream
    finally:
        stream.over.set()
        server.shutdown()
        server.server_close()
