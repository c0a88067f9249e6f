"""Does `rtseg serve` stay right, quick and small under load? Clients on this machine ask it for minutes.

    python -m benchmarks.serve_load NETWORK IMAGES [--clients 8] [--minutes 10] [--engine NAME] [-o FILE]

The server is a process of its own. Each client keeps a connection, and asks without a pause, in turn for a PNG, JSON
and raw results of the images. Each answer is compared with what this process finds with the same engine, one image at a
time: the PNG's and the raw result's bytes, and the areas of the classes. Latencies are those of the clients, from the
first byte sent to the last one received. Memory and open files of the server are looked at every half second; memory is
flat where its median in the last quarter of the time is at most 2 % above that of the second quarter. The last line is
JSON; the exit status is 1 where an answer was wrong or memory grew.
"""

import argparse
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rtseg.data.files import find_images
from rtseg.deploy.predictor import Predictor, load
from rtseg.serve.answers import Asked, encode, predict
from rtseg.serve.decode import decode
from rtseg.serve.limits import Limits

MOST_IMAGES = 50
ASKED = (Asked("png"), Asked("json"), Asked("raw"))
_GROWTH = 1.02
_LOOK = 0.5  # seconds


class Server:
    """`rtseg serve` in a process of its own."""

    def __init__(self, network: str, engine: str) -> None:
        command = [sys.executable, "-m", "rtseg", "serve", network, "--port", "0", "--engine", engine]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start")
        self.port = int(line.rpartition(":")[2].partition("/")[0])
        self.engine: str = json.loads(self.ask("GET", "/health")[1])["engine"]

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def memory(self) -> float:
        """Megabytes that are in memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def files(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def end(self) -> int:
        """The exit status after SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


@dataclass
class Load:
    """What clients ask, and what they found.

    Attributes:
        port: of the server.
        until: when they end, by `time.monotonic`.
        files: the bytes of each image.
        expected: of each image, the answer to each of `ASKED`.
    """

    port: int
    until: float
    files: list[bytes]
    expected: list[list[Any]]
    milliseconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def client(self, k: int) -> None:
        connection, number = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120), k
        while time.monotonic() < self.until and len(self.wrong) < 10:
            asked, image = number // len(self.files) % len(ASKED), number % len(self.files)
            number += 1
            begin = time.perf_counter()
            try:
                connection.request("POST", f"/api/segment?result={ASKED[asked].result}", self.files[image])
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"image {image}: {error!r}")
                connection.close()
                continue
            self.milliseconds.append(1000 * (time.perf_counter() - begin))
            if answer.status != 200 or comparable(ASKED[asked], content) != self.expected[image][asked]:
                self.wrong.append(f"image {image}, {ASKED[asked].result}: {answer.status}, {content[:100]!r}")


def comparable(asked: Asked, content: bytes) -> Any:
    """An answer without the times in it."""
    if asked.result != "json":
        return content
    found = json.loads(content)
    del found["milliseconds"]
    return found


def expected(predictor: Predictor, file: bytes) -> list[Any]:
    """The answers that this process finds to an image."""
    pixels = decode(file, Limits().pixels)
    found = [encode(predictor, predict(predictor, pixels, asked), asked, {}).content for asked in ASKED]
    return [comparable(asked, content) for asked, content in zip(ASKED, found, strict=True)]


def report(load: Load, seconds: float, memory: list[float]) -> dict[str, Any]:
    """Numbers of a run."""
    quarter = max(1, len(memory) // 4)
    early, late = median(memory[quarter : 2 * quarter] or memory), median(memory[-quarter:])
    p50, p95, p99 = np.percentile(load.milliseconds, (50, 95, 99)).tolist()
    return {
        "answers": len(load.milliseconds),
        "wrong": load.wrong,
        "answers_per_second": len(load.milliseconds) / seconds,
        "milliseconds": {"p50": p50, "p95": p95, "p99": p99, "most": max(load.milliseconds)},
        "megabytes": {"first": memory[0], "second_quarter": early, "last_quarter": late, "most": max(memory)},
        "flat": late <= _GROWTH * early,
    }


def show(found: Mapping[str, Any]) -> None:
    """Prints the numbers."""
    milliseconds = ", ".join(f"{name} {value:.0f}" for name, value in found["milliseconds"].items())
    memory = ", ".join(f"{name.replace('_', ' ')} {value:.0f}" for name, value in found["megabytes"].items())
    print(f"{found['answers']} answers, {len(found['wrong'])} wrong, {found['answers_per_second']:.1f} a second")
    print(f"milliseconds: {milliseconds}")
    print(f"megabytes: {memory}: {'flat' if found['flat'] else 'GROWING'}")
    print(f"open files: {found['open_files'][0]} before, {found['open_files'][1]} after")
    for line in found["wrong"]:
        print(line)


def main(words: list[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("images")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args(words)
    server = Server(given.network, given.engine)
    predictor = load(given.network, engine=server.engine)
    files = [path.read_bytes() for path in find_images(given.images)[1][:MOST_IMAGES]]
    answers = [expected(predictor, file) for file in files]
    files_before, begin = server.files(), time.monotonic()
    run = Load(server.port, begin + 60 * given.minutes, files, answers)
    clients = [
        threading.Thread(target=run.client, args=(k * len(files) // given.clients,)) for k in range(given.clients)
    ]
    for client in clients:
        client.start()
    memory = []
    while any(client.is_alive() for client in clients):
        memory.append(server.memory())
        time.sleep(_LOOK)
    seconds = time.monotonic() - begin
    time.sleep(1)
    about = {"network": given.network, "engine": server.engine, "clients": given.clients, "seconds": seconds}
    found = about | report(run, seconds, memory) | {"open_files": [files_before, server.files()]}
    found["exit_status"] = server.end()
    show(found)
    line = json.dumps(found)
    if given.output is not None:
        given.output.write_text(line + "\n")
    print(line)
    return int(bool(found["wrong"]) or not found["flat"] or found["exit_status"] != 0)


if __name__ == "__main__":
    sys.exit(main())
