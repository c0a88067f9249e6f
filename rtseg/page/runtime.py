"""onnxruntime-web, the program that runs the network in a browser: one version, and the hashes of its files.

A visitor's browser loads one pair of them: with WebGPU, or without. The page refuses a file of another hash, wherever
it comes from. MIT licence, Microsoft; nothing of it is part of rtseg.
"""

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rtseg.errors import UserError

VERSION = "1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/"
FOLDER = "runtime"  # of the page, with a copy


class RuntimeFile(NamedTuple):
    """A file of the package's folder `dist`: its bytes, and SHA-384 as browsers want it."""

    name: str
    size: int
    integrity: str


FILES = {
    "webgpu": {
        "module": RuntimeFile(
            "ort.webgpu.bundle.min.mjs",
            117_732,
            "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f",
        ),
        "binary": RuntimeFile(
            "ort-wasm-simd-threaded.asyncify.wasm",
            26_781_914,
            "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
        ),
    },
    "wasm": {
        "module": RuntimeFile(
            "ort.wasm.bundle.min.mjs",
            73_054,
            "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
        ),
        "binary": RuntimeFile(
            "ort-wasm-simd-threaded.wasm",
            14_239_897,
            "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
        ),
    },
}


def runtime_files() -> Iterator[RuntimeFile]:
    """All that a page may load."""
    for road in FILES.values():
        yield from road.values()


def most_loaded() -> int:
    """Bytes of the larger pair: no visitor loads both."""
    return max(sum(file.size for file in road.values()) for road in FILES.values())


def describe_runtime(base: str) -> dict[str, Any]:
    """What `network.json` says of the runtime, plain JSON.

    Args:
        base: address of the folder with the files, which ends in a slash.
    """
    roads = {
        road: {
            part: {"file": base + file.name, "bytes": file.size, "integrity": file.integrity}
            for part, file in files.items()
        }
        for road, files in FILES.items()
    }
    return {"version": VERSION, **roads}


def check_runtime(folder: Path) -> Path:
    """The folder of the package that holds the files, all of them as they must be.

    Args:
        folder: the package's folder, or `dist` in it.

    Raises:
        UserError: a file is missing, or is not that of this version.
    """
    first = next(runtime_files()).name
    found = folder / "dist" if not (folder / first).is_file() and (folder / "dist").is_dir() else folder
    for file in runtime_files():
        path = found / file.name
        try:
            digest = hashlib.sha384(path.read_bytes()).digest()
        except OSError as error:
            raise UserError(
                f"'{path}' cannot be read ({error.strerror}): --runtime is the folder of onnxruntime-web {VERSION}, "
                f"which `npm pack onnxruntime-web@{VERSION}` fetches"
            ) from None
        if integrity(digest) != file.integrity:
            raise UserError(
                f"'{path}' is not that of onnxruntime-web {VERSION}, its hash is another: fetch this version, with "
                f"`npm pack onnxruntime-web@{VERSION}`"
            )
    return found


def copy_runtime(source: Path, page: Path) -> None:
    """Copies the files of a folder that was checked into a page's folder."""
    (page / FOLDER).mkdir()
    for file in runtime_files():
        shutil.copyfile(source / file.name, page / FOLDER / file.name)


def integrity(digest: bytes) -> str:
    """A SHA-384 digest as browsers want it."""
    return f"sha384-{base64.b64encode(digest).decode()}"
