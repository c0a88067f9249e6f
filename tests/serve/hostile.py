"""Uploads that shall harm a server: what each sends, and the status that it gets."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.helpers.films import frames, write_film
from tests.helpers.server import SEGMENT, Client, Got
from tests.serve.test_api import image, turned

PIXELS, BYTES, RECEIVE = 2**20, 2**21, 2.0  # the limits of the server
_HEAD = f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\n"


class Hostile(NamedTuple):
    """An upload.

    Attributes:
        statuses: that it may get; empty where the connection is closed without a word.
        send: sends it.
    """

    name: str
    statuses: tuple[int, ...]
    send: Callable[[Client], Got | None]


def uploads(folder: Any) -> Iterator[Hostile]:
    """All of them. `folder`: for the films that are written."""
    for name, (statuses, body) in {**_bombs(), **_disguised(), **_damaged(), **_films(folder)}.items():
        yield Hostile(name, statuses, lambda client, body=body: client.segment(body))  # type: ignore[misc]
    yield from _requests()
    yield from _wire()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *chunks: bytes, data: bytes = b"") -> bytes:
    """A PNG of RGB whose pixels are what `data` inflates to."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *chunks, _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _zeros(many: int) -> bytes:
    """What inflates to so many zeros, a thousandth of their length."""
    compressor = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join((*(compressor.compress(block) for _ in range(many >> 20)), compressor.flush()))


def _zip(depth: int) -> bytes:
    content = bytes(2**22)
    for _ in range(depth):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../etc/passwd.png", content)
        content = file.getvalue()
    return content


def _scans(many: int) -> bytes:
    """A progressive JPEG of a megapixel that refines its last coefficient so many times."""
    whole = image("JPEG", (1000, 1000), progressive=True)
    last = whole.rfind(b"\xff\xda")
    return whole[:-2] + whole[last:-2][:14] * many + b"\xff\xd9"


def _tiff(*entries: tuple[int, int, int, int]) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


def _bombs() -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Small files that ask for much memory or time."""
    pixels = _zeros(2**28)
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6
    sides = ((256, 4, 1, 10), (257, 4, 1, 10), (322, 4, 1, 2**20), (323, 4, 1, 2**20))
    return {
        "a PNG of 200 megapixels": ((413,), _png(20_000, 10_000, data=pixels)),
        "a PNG of 2**62 pixels": ((413,), _png(2**31 - 1, 2**31 - 1)),
        "a PNG of one row of a million": ((413,), _png(2**21, 1)),
        "a PNG whose pixels go on": ((422,), _png(100, 100, data=pixels)),
        "a PNG of a megapixel whose pixels go on": ((422,), _png(1000, 1000, data=_zeros(2**31 - 2**27))),
        "a PNG with a text of 256 MB": ((200, 422), _png(9, 9, _chunk(b"zTXt", b"a\0\0" + pixels), data=_zeros(2**20))),
        "a PNG with a profile of 256 MB": (
            (200, 422), _png(9, 9, _chunk(b"iCCP", b"a\0\0" + pixels), data=_zeros(2**20)),
        ),
        "a PNG of a million chunks": ((200, 422), _png(9, 9, *[_chunk(b"teSt", b"")] * 100_000, data=_zeros(2**20))),
        "a PNG whose chunk claims 2 GB": ((422,), _png(9, 9)[:33] + b"\x7f\xff\xff\xffIDAT" + bytes(99) + b"IEND1234"),
        "a JPEG of 4 gigapixels": (
            (413, 422), b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\1\x11\0\2\x11\1\3\x11\1\xff\xda\0\2\xff\xd9",
        ),
        "a JPEG of 50,000 scans": ((422,), _scans(50_000)),
        "a JPEG of 90 scans": ((200, 422), _scans(80)),
        "a JPEG of a million segments": ((422,), b"\xff\xd8" + b"\xff\xe0\0\2" * 500_000),
        "a JPEG of padding": ((422,), b"\xff\xd8" + b"\xff" * 2**20),
        "a BMP of 2**60 pixels": ((413,), bmp),
        "a WebP of 2**48 pixels": ((413,), webp),
        "a TIFF of 2**60 pixels": ((413,), _tiff((256, 4, 1, 2**30), (257, 4, 1, 2**30))),
        "a TIFF with a tile of 2**40 pixels": ((413,), _tiff(*sides)),
        "a TIFF whose pages are a ring": (
            (422,), _tiff((256, 4, 1, 9), (257, 4, 1, 9))[:-4] + b"\x08\0\0\0",
        ),
        "a zip bomb": ((415,), _zip(3)),
        "a gzip bomb": ((415,), b"\x1f\x8b\x08\0\0\0\0\0\0\3" + _zeros(2**28)[2:]),
    }  # fmt: skip


def _disguised() -> dict[str, tuple[tuple[int, ...], bytes]]:
    """What is no image."""
    return {
        "a Windows program": ((415,), b"MZ\x90\0" + bytes(1000)),
        "a Linux program": ((415,), b"\x7fELF" + bytes(1000)),
        "a script": ((415,), b"#!/bin/sh\nrm -rf /\n"),
        "a program behind a PNG's first bytes": ((422,), b"\x89PNG\r\n\x1a\nMZ\x90\0" + bytes(1000)),
        "an SVG that reads a file": (
            (415,), b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        ),
        "a web page": ((415,), b"<!doctype html><script>alert(1)</script>"),
        "PostScript": ((415,), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
        "a PDF": ((415,), b"%PDF-1.7\n" + bytes(100)),
        "a path": ((415,), b"/etc/passwd"),
        "an address": ((415,), b"http://127.0.0.1:22/"),
        "a pickle": ((415,), b"\x80\x04\x95cos\nsystem\n(S'true'\ntR."),
        "a NumPy array": ((415,), b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (9, 9), }\n"),
        "zeros": ((415,), bytes(10_000)),
        "random bytes": ((415,), np.random.default_rng(0).bytes(100_000)),
        "nothing": ((400,), b""),
        "one byte": ((415,), b"x"),
        "an animated GIF": ((415,), image("GIF", save_all=True, append_images=[Image.new("RGB", (56, 40))])),
        "an animated WebP": ((200,), image("WEBP", save_all=True, append_images=[Image.new("RGB", (56, 40))])),
        "an animated PNG": ((200,), image("PNG", save_all=True, append_images=[Image.new("RGB", (56, 40))])),
        "a TIFF of two pages": ((422,), image("TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])),
        "an EXR image": ((415,), b"\x76\x2f\x31\x01" + bytes(100)),
        "a portable pixmap": ((415,), b"P6 100000 100000 255\n" + bytes(100)),
    }  # fmt: skip


def _damaged() -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Images that are cut or have other bytes than they should."""
    noisy = bytearray(turned())
    noisy[-300:-100] = np.random.default_rng(1).bytes(200)
    return {
        "a cut JPEG": ((422,), turned()[:-500]),
        "a cut PNG": ((422,), image()[:200]),
        "a cut WebP": ((422,), image("WEBP")[:-50]),
        "a cut TIFF": ((422,), image("TIFF")[:-5000]),
        "a cut BMP": ((200, 422), image("BMP")[:-2000]),
        "a JPEG with other bytes": ((200, 422), bytes(noisy)),
        "a PNG without pixels": ((422,), _png(9, 9)),
        "a PNG of no width": ((422,), _png(0, 9)),
        "a PNG with a wrong checksum": ((200, 422), image()[:-20] + b"abcd" + image()[-16:]),
    }


def _films(folder: Any) -> dict[str, tuple[tuple[int, ...], bytes]]:
    write_film(folder / "film.mp4", frames(9), "-c:v", "mpeg4")
    film = (folder / "film.mp4").read_bytes()
    return {
        "a film": ((415,), film),
        "a film that is cut": ((415,), film[: len(film) // 2]),
        "a film without its end": ((415,), film[:40]),
        "the middle of a film": ((415,), film[len(film) // 2 :]),
        "a Matroska film": ((415,), b"\x1a\x45\xdf\xa3" + bytes(100)),
    }


def _requests() -> Iterator[Hostile]:
    """Addresses, parameters and headers."""
    good = image()
    for query in (
        "?result=../../etc/passwd", "?result=" + "x" * 9000, "?result=%00", "?polygons=yes", "?file=/etc/passwd",
        "?result=json&result=png", "?" + "&".join(f"a{k}=1" for k in range(1000)), "?%ff%fe=1",
    ):  # fmt: skip
        yield Hostile(f"the parameters {query[:30]}", (400,), lambda client, q=query: client.segment(good, q))  # type: ignore[misc]
    for path in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/....//etc/passwd",
                 "/index.html/../../../etc/passwd", "//etc/passwd", "/C:\\windows", "/app.js%00.png",
                 "/api/segment/", "http://127.0.0.1:22/etc/passwd", "/" + "a/" * 4000):  # fmt: skip
        yield Hostile(f"the address {path[:40]}", (404,), lambda client, p=path: client.ask("GET", p))  # type: ignore[misc]
    for name, headers, status in (
        ("a gzip body", {"Content-Encoding": "gzip"}, 415),
        ("a form", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ("a websocket", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, 400),
        ("a header of 100 kB", {"X-Long": "x" * 100_000}, 431),
        ("a thousand headers", {f"X-{k}": "x" * 50 for k in range(1000)}, 431),
        ("HTTP/2 in plain", {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}, 200),
    ):
        yield Hostile(name, (status,), lambda client, h=headers: client.ask("POST", SEGMENT, good, h))  # type: ignore[misc]
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "NONSENSE"):
        yield Hostile(f"the method {method}", (405,), lambda client, m=method: client.ask(m, SEGMENT))  # type: ignore[misc]


def _wire() -> Iterator[Hostile]:
    """Bytes that are no whole request, or come too slowly."""
    good = image()
    long = f"Content-Length: {len(good) + 1000}\r\n\r\n"
    endless: list[bytes | float] = [b"40000\r\n" + bytes(2**18) + b"\r\n"] * 20
    trickle: list[bytes | float] = [b"x", 0.5]
    paths: list[bytes | float] = [1.0, b"/a"]
    chunked = f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    both = f"{_HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    lines: dict[str, tuple[tuple[int, ...], list[bytes | float]]] = {
        "a length that is too long": ((408,), [f"{_HEAD}{long}".encode() + good]),
        "a length that is too short": ((422,), [f"{_HEAD}Content-Length: 100\r\n\r\n".encode() + good]),
        "a length below zero": ((400,), [f"{_HEAD}Content-Length: -1\r\n\r\n".encode() + good]),
        "a length that is no number": ((400,), [f"{_HEAD}Content-Length: 1e9\r\n\r\n".encode()]),
        "a length of 40 digits": ((400,), [f"{_HEAD}Content-Length: {'9' * 40}\r\n\r\n".encode()]),
        "a length of a terabyte": ((413,), [f"{_HEAD}Content-Length: {2**40}\r\n\r\n".encode()]),
        "two lengths": ((400,), [f"{_HEAD}Content-Length: 5\r\nContent-Length: 9\r\n\r\n".encode() + good]),
        "a length and chunks": ((400,), [both + b"5\r\nhello\r\n0\r\n\r\n"]),
        "chunks without end": ((413,), [chunked, *endless]),
        "a chunk that claims a terabyte": ((408,), [chunked + b"ffffffffff\r\nabc"]),
        "chunks that are none": ((400,), [chunked + b"hello\r\n"]),
        "a body that trickles": ((408,), [f"{_HEAD}Content-Length: 999\r\n\r\n".encode(), *trickle * 8]),
        "a header that trickles": ((408,), [b"POST /api", *paths * 7]),
        "a request that stops": ((408,), [b"GET / HTTP/1.1\r\nHost: x\r\n"]),
        "nothing at all": ((), []),
        "HTTP/1.0": ((200,), [f"POST {SEGMENT} HTTP/1.0\r\nContent-Length: {len(good)}\r\n\r\n".encode() + good]),
        "HTTP/0.9": ((400,), [b"GET /\r\n\r\n"]),
        "HTTP/2": ((400, 404), [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
        "TLS": ((400,), [b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + bytes(200)]),
        "no host": ((400,), [f"GET {SEGMENT} HTTP/1.1\r\n\r\n".encode()]),
        "line feeds in a header": ((400,), [b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r c\n\r\n\r\n"]),
        "a proxy's request": ((400, 404, 405, 421), [b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"]),
    }  # fmt: skip
    for name, (statuses, parts) in lines.items():
        yield Hostile(name, statuses, lambda client, parts=parts: client.raw(*parts))  # type: ignore[misc]
