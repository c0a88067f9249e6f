"""An HTTPS server on this machine, which serves files as a store of weights does, and fails where it is told to."""

import hashlib
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any


@dataclass
class Store:
    """What a server has, and what it was asked for.

    Attributes:
        files: content by path.
        moved: path -> address that it leads to.
        address: of the server, "https://127.0.0.1:port".
        certificate: file for SSL_CERT_FILE.
        cut: ends each of the next connections after so many bytes of its answer.
        stall: whether such a connection is left open, without a further byte, until `go_on` is set.
        tagged: whether an ETag is sent.
        lengths: whether it says how long a file is.
        ranges: whether it sends parts of files.
        shifted: by how many bytes the parts that it sends begin too late.
        longest: bytes of the longest part that it sends.
        asked: "path" or "path from byte", in this order.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    address: str = ""
    certificate: Path = Path()
    cut: list[int] = field(default_factory=list)
    stall: bool = False
    go_on: Event = field(default_factory=Event)
    tagged: bool = True
    lengths: bool = True
    ranges: bool = True
    shifted: int = 0
    longest: int = 10**9
    asked: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def cut_after(self) -> int | None:
        """For the next connection."""
        with self._lock:
            return self.cut.pop(0) if self.cut else None


@cache
def _certificate() -> tuple[TemporaryDirectory, Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key; the folder goes with the process."""
    folder = TemporaryDirectory(prefix="certificate-")
    certificate, key = Path(folder.name, "certificate.pem"), Path(folder.name, "key.pem")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder, certificate, key


@contextmanager
def https_store(files: dict[str, bytes] | None = None) -> Iterator[Store]:
    """Serves while the block runs; what is changed in the store holds from then on."""
    _, certificate, key = _certificate()
    store = Store(files or {}, certificate=certificate)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
            store.asked.append(f"{self.path} from {wanted[1]}" if wanted else self.path)
            if self.path in store.moved:
                self.send_response(302)
                self.send_header("Location", store.moved[self.path])
                self.end_headers()
                return
            content = store.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            begin = int(wanted[1]) if wanted and store.ranges and self.headers.get("If-Range") == tag else 0
            if begin > len(content):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            end = len(content)
            if begin:
                begin, end = begin + store.shifted, min(len(content), begin + store.longest)
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            if store.tagged:
                self.send_header("ETag", tag)
            if store.lengths:
                self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            cut = store.cut_after()
            self.wfile.write(content[begin:end][:cut])
            if cut is not None and store.stall:
                store.go_on.wait()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # a client that goes away before the end is what some tests are about

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    store.address = f"https://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
