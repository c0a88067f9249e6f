"""A full disk: every command that writes, with room for nothing, for a little, and for nearly all.

The disk is a small tmpfs where mounting is allowed (as root); else no file may grow beyond the room. Good is exit
status 2 with one line that names the place, no unfinished file, and older files whole; or success where the room is
enough.
"""

import hashlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.worker import Answer, Worker, command

_ROOMS = (0, 8 << 10, 80 << 10, 600 << 10, 6 << 20, 11 << 20)  # bytes; a checkpoint has 4.6 MB


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """Each command with each room (two of them if quick)."""
    run = materials.train(folder)
    materials.time_network(run)
    disk = folder / "disk"
    disk.mkdir()
    with Worker(setup=warm_up) as worker:
        for k, (name, words) in enumerate(_commands(run, disk).items()):
            rooms = (_ROOMS[k % 2], _ROOMS[2 + k % 4]) if quick else _ROOMS
            for room in rooms:
                with _small(disk, room) as mounted:
                    older = _older(run, disk)
                    if mounted:
                        _fill(disk, room)
                    function = command if mounted else partial(limited, room)
                    answer = worker.run(function, *words, clock=240, busy=60)  # benchmark and compare measure
                    yield answer.outcome(f"{name}, {room >> 10} KiB free", _fault(answer, disk, older))


def warm_up() -> None:
    """Imports, which write caches of their own."""
    import rtseg.deploy.predictor
    import rtseg.studies.commands
    import rtseg.training.cli  # noqa: F401


def limited(room: int, *words: str) -> None:
    """A command that can write no file beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        command(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _commands(run: Path, disk: Path) -> dict[str, list[str]]:
    best, images = str(run / "best.ckpt"), str(run.parent / "data" / "val")
    size = ["--input-size", *map(str, materials.SIZE)]
    return {
        "fit": materials.fit_flags(run.parent / "data", disk / "run"),
        "predict": ["predict", best, images, "-o", str(disk / "shown")],
        "predict --overwrite": ["predict", best, images, "-o", str(disk / "older"), "--overwrite"],
        "export": ["export", best, "-o", str(disk / "net.onnx"), *size],
        "make-data": ["make-data", "-n", "8", "--number-val", "2", "--size", "64", "64", "-o", str(disk / "drawn")],
        "report": ["report", str(run), "-o", str(disk / "older" / "report.html")],
        "benchmark": ["benchmark", best, "--backend", "eager", *size, "--seconds", "0.05",
                      "-o", str(disk / "benchmark.json")],
        "visualize": ["visualize", best, f"{images}/{_image(images)}", "-o", str(disk / "sheets")],
        "compare": ["compare", "--attention", "gfa+ca", *size, "--seconds", "0.05", "-o", str(disk / "compared")],
    }  # fmt: skip


def _image(folder: str) -> str:
    return min(file.name for file in Path(folder).iterdir())


@contextmanager
def _small(disk: Path, room: int) -> Iterator[bool]:
    """A disk of its own, where that is allowed; empty again afterwards."""
    size = f"size={room + (8 << 20)}"
    mount = shutil.which("mount")
    words = ["-t", "tmpfs", "-o", size, "none", str(disk)]
    mounted = mount is not None and subprocess.run([mount, *words], capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", disk], check=True, capture_output=True)
        else:
            shutil.rmtree(disk)
            disk.mkdir()


def _older(run: Path, disk: Path) -> dict[Path, str]:
    """Results of earlier commands, and their digests."""
    older = disk / "older"
    older.mkdir()
    (older / "benchmark.json").write_bytes((run / "benchmark.json").read_bytes())
    (older / "report.html").write_text("an older page")
    for name in ("0.png", "0_overlay.jpg"):
        (older / name).write_bytes(b"an older image" * 100)
    return {file: _digest(file) for file in older.iterdir()}


def _fill(disk: Path, room: int) -> None:
    """Leaves so much."""
    free = shutil.disk_usage(disk).free
    with (disk / "filling").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - room))


def _fault(answer: Answer, disk: Path, older: dict[Path, str]) -> str | None:
    left = [file for file in disk.rglob("*") if "unfinished" in file.name or file.name.endswith((".tmp", ".lock"))]
    if left:
        return f"leaves {left[0].relative_to(disk)} (status {answer.status})"
    # What a command replaces is whole, too: its last bytes are there.
    ends = {".json": b"}", ".html": b">", ".png": b"\xaeB`\x82", ".jpg": b"\xff\xd9"}
    for file, digest in older.items():
        if not file.is_file():
            return f"the older {file.name} is gone"
        if _digest(file) != digest and not file.read_bytes().rstrip().endswith(ends[file.suffix]):
            return f"the older {file.name} is half another"
    for file in disk.rglob("*"):
        if file.is_file() and file not in older and file.suffix in ends and file.stat().st_size == 0:
            return f"leaves an empty {file.name}"
    if answer.status == 0:
        return None
    if answer.status != 2:
        return f"exit status {answer.status}: {answer.said}"
    if str(disk) not in answer.said or ("space" not in answer.said.lower() and "large" not in answer.said.lower()):
        return f"does not name the place and the reason: {answer.said}"
    return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
