"""Uploads that shall harm a server get a sentence and a status; it keeps its memory, its files and its time."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.networks import tiny_segmenter
from tests.helpers.server import SEGMENT, Client, answered
from tests.serve.hostile import BYTES, PIXELS, RECEIVE, Hostile, uploads
from tests.serve.test_api import image

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/proc tells files and memory")]
LONGEST = 10.0  # seconds for an answer
GROWTH = 64 << 20  # bytes of memory that a bomb may take for a while, and all together for ever


class Process(Client):
    """A server of its own process."""

    pid: int

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes; VmHWM: the most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{what}:")[1].split()[0]) << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("serve")
    tiny_segmenter().save_pretrained(folder / "net")
    options = f"--max-bytes {BYTES} --max-pixels {PIXELS} --receive-seconds {RECEIVE} --seconds 8 --parallel 4"
    command = [sys.executable, "-m", "rtseg", "serve", "net", "--port", "0", "--engine", "eager", *options.split()]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        client = Process(int(process.stdout.readline().split(":")[-1].split("/")[0]))
        object.__setattr__(client, "pid", process.pid)
        for _ in range(20):
            assert client.segment(image("BMP", (700, 700))).status == 200  # what allocators keep is there
        yield client
        process.terminate()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "a request failed" not in err
        assert "Traceback" not in err
        print(err)  # OpenCV and libpng warn of damage there
    finally:
        process.kill()


def test_hostile_uploads(server: Process, tmp_path: Path) -> None:
    hostile = list(uploads(tmp_path))
    assert len(hostile) >= 60
    files, memory = server.files(), server.memory()
    wrong = [said for one in hostile if (said := _wrong(server, one))]
    assert wrong == []
    time.sleep(1)
    assert server.files() <= files
    assert server.memory() < memory + GROWTH
    assert server.memory("VmHWM") < memory + 2 * GROWTH
    assert server.segment(image()).status == 200


def _wrong(server: Process, one: Hostile) -> str:
    """What is wrong with the answer to an upload; empty where nothing is."""
    begin = time.monotonic()
    answer = one.send(server)
    seconds = time.monotonic() - begin
    said = f"{one.name}: {answer and answer.status} {answer and answer.body[:120]!r} in {seconds:.1f} s"
    print(said)
    if answer is None:
        return said * bool(one.statuses or seconds > LONGEST)
    good = answer.status in one.statuses and seconds < LONGEST
    if answer.status >= 400 and good:
        good = len(answer.error) > 20 and "passwd" not in answer.error
    return said * (not good)


def test_floods(server: Process) -> None:
    """Some are answered, the others told to come back; nobody waits for ever."""
    files, memory = server.files(), server.memory()
    big, bodies = image("BMP", (700, 700)), b"x" * (BYTES - 1)

    def ask(k: int) -> int:
        begin = time.monotonic()
        answer = server.segment(big if k % 2 else bodies)
        assert answer.status == 200 or answer.error
        assert time.monotonic() - begin < LONGEST
        return answer.status

    with ThreadPoolExecutor(60) as pool:
        statuses = list(pool.map(ask, range(240)))
    assert set(statuses) <= {200, 408, 415, 503}, "408: all send at once, and have two seconds"
    assert 200 in statuses
    assert 503 in statuses
    time.sleep(3)
    assert server.files() <= files
    assert server.memory() < memory + 2 * GROWTH


def test_a_crowd_of_slow_clients_does_not_shut_others_out(server: Process) -> None:
    files = server.files()
    slow = f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode()
    crowd = threading.Barrier(101)

    def trickle(k: int) -> int:
        with server.connected() as sock:
            sock.sendall(slow if k % 2 else slow[:50])
            crowd.wait(30)
            begin = time.monotonic()
            found = answered(sock)
            assert time.monotonic() - begin < LONGEST
            return found.status if found else 0

    with ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(trickle, k) for k in range(100)]
        crowd.wait(30)
        assert server.segment(image()).status == 200, "while they trickle"
        assert {one.result() for one in waiting} == {408}
    time.sleep(1)
    assert server.files() <= files


def test_clients_that_leave_or_do_not_read(server: Process) -> None:
    files, memory = server.files(), server.memory()
    body = image("BMP", (700, 700))
    request = f"POST {SEGMENT}?result=raw HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    for _ in range(20):
        with server.connected() as sock:
            sock.sendall(request)
    with contextlib.ExitStack() as silent:
        for _ in range(6):
            silent.enter_context(server.connected()).sendall(request)
            time.sleep(0.3)
        until = time.monotonic() + LONGEST
        while server.files() > files and time.monotonic() < until:
            time.sleep(0.2)
        assert server.files() <= files, "those who do not read are let go"
    assert server.segment(image()).status == 200
    assert server.memory() < memory + GROWTH
