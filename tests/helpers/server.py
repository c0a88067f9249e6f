"""A server of `rtseg serve` in a thread, and clients that speak to it."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtseg.deploy.predictor import Predictor
from rtseg.serve.limits import Limits
from rtseg.serve.server import Running, create

SEGMENT = "/api/segment"


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal; the test fails where it is none."""
        assert self.headers["content-type"] == "application/json"
        (said,) = self.json.values()
        assert list(self.json) == ["error"]
        assert "Traceback" not in said
        return said


@dataclass(frozen=True)
class Client:
    """Speaks to a server at a port of this machine.

    Attributes:
        running: the server, where it is in this process.
    """

    port: int
    running: Any = field(default=None, repr=False)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Got:
        """A request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            return got(connection.getresponse())
        finally:
            connection.close()

    def segment(self, body: bytes, query: str = "", **headers: str) -> Got:
        return self.ask("POST", SEGMENT + query, body, {key.replace("_", "-"): value for key, value in headers.items()})

    def raw(self, *parts: bytes | float, read: bool = True) -> Got | None:
        """Sends bytes as they are, and waits where a number stands; None where no answer comes."""
        with self.connected() as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    if isinstance(part, bytes):
                        sock.sendall(part)
                    else:
                        time.sleep(part)
            return answered(sock) if read else None

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            yield sock


def got(response: http.client.HTTPResponse) -> Got:
    return Got(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())


def answered(sock: socket.socket) -> Got | None:
    """The answer on a socket; None where the server closes without one."""
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        return got(response)
    except (http.client.HTTPException, ConnectionError):
        return None
    finally:
        response.close()


@contextlib.contextmanager
def served(predictor: Predictor, limits: Limits | None = None) -> Iterator[Client]:
    """A server in a thread on a free port."""
    running = create(predictor, limits or Limits())
    with serving(running) as port:
        yield Client(port, running)


@contextlib.contextmanager
def serving(running: Running) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        thread = threading.Thread(target=running.http.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            until = time.monotonic() + 20
            while not running.http.started:
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.005)
            yield port
        finally:
            running.http.should_exit = True
            thread.join(20)
            running.server.work.close()
            assert not thread.is_alive(), "the server did not end"


def until(true: Callable[[], bool]) -> None:
    """Waits for it; the test fails where it does not happen."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)
