"""Hostile images and names for `rtseg predict`: sizes that a header claims, bombs, cut and damaged files, odd names."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tools.torture.case import Case, command_case
from tools.torture.worker import Answer

FORMATS = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM"}
_HEAD = 200  # bytes in which damage is drawn: headers, tables and the first pixels


def image_cases(checkpoint: Path, folder: Path) -> Iterator[Case]:
    """Each beside a good image, which must be predicted whatever the hostile one does."""
    draw = np.random.default_rng(14)
    files = {**claims(), **bombs(), **oddities()}
    for suffix, form in FORMATS.items():
        whole = drawn(form, draw)
        for k in range(14):
            files[f"damage {k}.{suffix}"] = head_damaged(whole, draw)
        for k in range(4):
            files[f"cut {k}.{suffix}"] = whole[: int(draw.integers(1, len(whole)))]
    for k, (name, content) in enumerate(files.items()):
        source = _beside_a_good_one(folder / f"image{k}")
        hostile = source / name
        hostile.write_bytes(content)
        extra = [] if name.endswith(tuple(FORMATS)) and not name.endswith("ppm") else [hostile]  # folders leave it out
        output = folder / f"predicted{k}"
        yield command_case(
            f"predict {name}", "predict", checkpoint, source, *extra, "-o", output, fault=partial(_good_one, output)
        )
    yield from _not_files(checkpoint, folder)


def name_cases(checkpoint: Path, folder: Path) -> Iterator[Case]:
    """Good images under odd names: each is predicted."""
    names = [
        *(b"n" * (length - 4) + b".png" for length in (200, 235, 236, 240, 250, 255)),
        "ü".encode() * 125 + b".png",
        b"red\x1b[31m.png", b"clear\x1b[2J\x1b]0;title\x07.png", b"line\nbreak.png", b"carriage\rreturn.png",
        b"latin\xe9.png", b"\xff\xfe.png", b"-o.png", b"--overwrite.png", b"[a-z]*.png", b"a b 'c' \"d\" $(e).png",
        b"[red]markup[red].png", "e\u0301.png".encode(), "right\u202eleft.png".encode(),
    ]  # fmt: skip
    for k, name in enumerate(names):
        source, output = folder / f"names{k}", folder / f"named{k}"
        source.mkdir()
        (source / os.fsdecode(name)).write_bytes(drawn("PNG", np.random.default_rng(k)))
        yield command_case(
            f"predict a file named {os.fsdecode(name)!r:.60}", "predict", checkpoint, source, "-o", output,
            fault=partial(_all_written, output),
        )  # fmt: skip
    for k, name in enumerate((b"red\x1b[31m.png", b"title\x1b]0;x\x07.png", b"latin\xe9.png", b"line\nbreak.png")):
        source = folder / f"bad names{k}"
        source.mkdir()
        (source / os.fsdecode(name)).write_bytes(b"no image")
        said = f"predict a damaged file named {os.fsdecode(name)!r}"
        yield command_case(said, "predict", checkpoint, source, "-o", folder / f"badly named{k}")


def drawn(form: str, draw: np.random.Generator, size: tuple[int, int] = (40, 56)) -> bytes:
    """A small image in one of PIL's formats."""
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


def head_damaged(content: bytes, draw: np.random.Generator) -> bytes:
    """Up to eight of the first bytes are others."""
    changed = bytearray(content)
    for at in draw.integers(0, min(_HEAD, len(content)), int(draw.integers(1, 9))):
        changed[at] = int(draw.integers(256))
    return bytes(changed)


def png(width: int, height: int, depth: int = 8, colors: int = 0, data: bytes = b"", more: bytes = b"") -> bytes:
    """A PNG with this header, compressed pixel data, and chunks between them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colors, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(number: int) -> bytes:
    """So many zero bytes, compressed."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(number >> 20):
        parts.append(packer.compress(bytes(1 << 20)))
    return b"".join([*parts, packer.compress(bytes(number & 0xFFFFF)), packer.flush()])


def claims() -> dict[str, bytes]:
    """Small files whose headers claim up to 2^62 pixels."""
    jpeg = drawn("JPEG", np.random.default_rng(1))
    frame = jpeg.index(b"\xff\xc0") + 5  # height and width
    bmp, tiff = drawn("BMP", np.random.default_rng(2)), drawn("TIFF", np.random.default_rng(3))
    width = struct.pack("<HHII", 256, 4, 1, 56)  # tag, kind, count, value
    return {
        "claims 2^15.bmp": bmp[:18] + struct.pack("<ii", 1 << 15, 1 << 15) + bmp[26:64],
        "claims 2^31.bmp": bmp[:18] + struct.pack("<ii", 0x7FFFFFFF, -0x80000000) + bmp[26:64],
        "claims 65500.jpg": jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :],
        "claims no height.jpg": jpeg[:frame] + struct.pack(">HH", 0, 65500) + jpeg[frame + 4 :],
        "claims 2^15.ppm": b"P6\n32768 32768\n255\n" + bytes(64),
        "claims 2^31.ppm": b"P6\n2147483647 2147483647\n255\n" + bytes(64),
        "claims 2^15 as a.png": b"P6\n32768 32768\n255\n" + bytes(64),
        "claims 2^31.png": png(0x7FFFFFFF, 0x7FFFFFFF, data=zeros(64)),
        "claims 2^15.png": png(1 << 15, 1 << 15, colors=2, data=zeros(64)),
        "claims no pixel.png": png(0, 0, data=zeros(0)),
        "claims 2^32.tif": tiff.replace(width, width[:8] + b"\xff" * 4),
        "claims 16384.webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
        + struct.pack("<I", 16383)[:3] + struct.pack("<I", 16383)[:3],
    }  # fmt: skip


def bombs() -> dict[str, bytes]:
    """Small files that are whole, and large once decoded."""
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(300 << 20))
    profile = chunk(b"iCCP", b"p\0\0" + zeros(300 << 20))
    lines = zlib.compress(bytes(7 * 5), 9)
    return {
        "30000x30000, 1 bit.png": png(30000, 30000, 1, data=zeros(30000 * 3751)),
        "40000x30000, 1 bit.png": png(40000, 30000, 1, data=zeros(30000 * 5001)),
        "20000x20000, RGB.png": png(20000, 20000, 8, 2, data=zeros(20000 * 60001)),
        "2000000 wide.png": png(2_000_000, 1, data=zeros(2_000_001)),
        "2000000 high.png": png(1, 2_000_000, data=zeros(4_000_000)),
        "300 MB of text.png": png(7, 5, data=lines, more=text),
        "300 MB of profile.png": png(7, 5, data=lines, more=profile),
    }


def oddities() -> dict[str, bytes]:
    """Files of no or another kind under an image's name."""
    draw = np.random.default_rng(4)
    return {
        "empty.png": b"", "one byte.jpg": b"\xff", "only a signature.png": b"\x89PNG\r\n\x1a\n",
        "text.jpg": b"<html><script>alert(1)</script>", "archive.png": b"PK\x03\x04" + bytes(60),
        "noise.jpg": draw.bytes(4096), "noise.png": draw.bytes(4096), "noise.webp": b"RIFF" + draw.bytes(4096),
        "10 MB of markers.jpg": b"\xff\xd8" + b"\xff" * 10_000_000 + b"\xd9",
        "film.png": b"\0\0\0\x20ftypisom" + bytes(4096),
        "chunk of 4 GB.png": b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR" + bytes(100) + b"IEND",
        "directory that loops.tif": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 256, 4, 1, 8) + b"\x08\0\0\0",
    }  # fmt: skip


def _not_files(checkpoint: Path, folder: Path) -> Iterator[Case]:
    """What is there, and is no file; what is no longer there."""
    source = _beside_a_good_one(folder / "no files")
    os.mkfifo(source / "pipe.png")
    (source / "dangling.png").symlink_to(source / "nothing.png")
    (source / "loop.png").symlink_to(source / "loop.png")
    (source / "folder.png").mkdir()
    (source / "up").symlink_to(source, target_is_directory=True)
    output = folder / "of no files"
    yield command_case("predict a folder of pipes and dangling links", "predict", checkpoint, source, "-o", output)
    for name in ("pipe.png", "dangling.png", "loop.png", "folder.png"):
        yield command_case(f"predict {name}", "predict", checkpoint, source / name, "-o", folder / f"of {name}")
    for device in ("/dev/zero", "/dev/stdin", "/proc/self/mem", "nul\0byte.png"):
        yield command_case(f"predict {device!r}", "predict", checkpoint, device, "-o", folder / "of a device")


def _beside_a_good_one(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a good one.png").write_bytes(drawn("PNG", np.random.default_rng(5)))
    return folder


def _good_one(output: Path, answer: Answer) -> str | None:
    if (output / "a good one.png").is_file() and (output / "a good one_overlay.jpg").is_file():
        return None
    return f"the good image beside it is not predicted: {answer.said}"


def _all_written(output: Path, answer: Answer) -> str | None:
    written = sorted(file.suffix for file in output.rglob("*") if file.is_file()) if output.is_dir() else []
    if answer.status == 0 and written.count(".png") == 1:
        return None
    return f"not predicted (status {answer.status}): {answer.said}"
