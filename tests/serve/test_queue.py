"""Requests wait in a queue of a few; who leaves it is not served, and who finds it full is told so."""

import contextlib
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.serve.limits import Limits
from tests.helpers.server import SEGMENT, Client, served, until
from tests.serve.test_api import image


class Held(Predictor):
    """A predictor that waits for `go`, and notes the widths of its images; a width of 13 makes it fail."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter, engine="eager", device="cpu")
        self.go, self.widths = threading.Event(), list[int]()

    def classes_of(self, whole: np.ndarray) -> np.ndarray:
        self.widths.append(whole.shape[1])
        assert self.go.wait(20)
        if whole.shape[1] == 13:
            raise RuntimeError("/secret/path")
        return super().classes_of(whole)


@pytest.fixture
def held(shared_segmenter: Segmenter) -> Iterator[tuple[Client, Held]]:
    predictor = Held(shared_segmenter)
    predictor.go.set()
    with served(predictor, Limits(parallel=3)) as client:
        predictor.widths.clear()
        predictor.go.clear()
        try:
            yield client, predictor
        finally:
            predictor.go.set()


def test_requests_are_served_in_order_and_not_beyond_the_bound(held: tuple[Client, Held]) -> None:
    client, predictor = held
    with ThreadPoolExecutor(3) as pool:
        answers = []
        for k in range(3):
            answers.append(pool.submit(client.segment, image(size=(16, 20 + k))))
            until(lambda k=k: client.running.server.work.inside == k + 1)  # type: ignore[misc]
        full = client.segment(image())
        assert (full.status, full.headers["retry-after"]) == (503, "1")
        assert "3 requests" in full.error
        predictor.go.set()
        assert [answer.result().status for answer in answers] == [200] * 3
    assert predictor.widths == [20, 21, 22]
    assert client.ask("GET", "/health").json["requests"] == 4


def test_a_request_whose_client_has_left_is_not_run(held: tuple[Client, Held]) -> None:
    client, predictor = held
    work = client.running.server.work
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.segment, image(size=(16, 20)))
        until(lambda: predictor.widths == [20])
        body = image(size=(16, 21))
        with client.connected() as sock:
            sock.sendall(f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: work.inside == 2)
        until(lambda: work.inside == 1)
        predictor.go.set()
        assert first.result().status == 200
    assert client.segment(image(size=(16, 22))).status == 200
    assert predictor.widths == [20, 22]


def test_a_network_that_is_too_slow_or_fails(held: tuple[Client, Held], capsys: pytest.CaptureFixture[str]) -> None:
    client, predictor = held
    server = client.running.server
    usual, server.limits = server.limits, replace(server.limits, seconds=0.2)
    slow = client.segment(image(size=(16, 20)))
    server.limits = usual
    assert (slow.status, slow.headers["retry-after"]) == (503, "1")
    assert "0.2 seconds" in slow.error
    predictor.go.set()
    failed = client.segment(image(size=(16, 13)))
    assert failed.status == 500
    assert "secret" not in failed.error
    assert "secret" in capsys.readouterr().err, "the server's log says it"
    assert client.segment(image(size=(16, 14))).status == 200, "and it lives on"
    until(lambda: server.held == 0)


class Quick(Predictor):
    """A predictor that sees the first class everywhere."""

    def prediction_of(self, whole: np.ndarray) -> Prediction:
        return Prediction(np.zeros(whole.shape[:2], np.uint8), self.class_names, self.palette)


@pytest.mark.slow
def test_who_reads_too_slowly_is_cut_off(shared_segmenter: Segmenter) -> None:
    """The answer has more bytes than the system keeps for a connection."""
    file = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(file, "BMP")
    with served(Quick(shared_segmenter, engine="eager", device="cpu"), Limits(body=2**26, seconds=3)) as client:
        length = len(file.getvalue())
        head = f"POST {SEGMENT}?result=raw HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        server, begin, many = client.running.server, time.monotonic(), 0
        with client.connected() as sock, contextlib.suppress(ConnectionError):
            sock.sendall(head + file.getvalue())
            until(lambda: server.held == 2**24)
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
            while server.held:
                many += len(sock.recv(100))
                time.sleep(0.01)
                assert time.monotonic() - begin < 20
            assert many < 2**24
            until(lambda: not client.running.http.server_state.connections)
