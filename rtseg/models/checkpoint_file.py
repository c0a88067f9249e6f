"""Reading `.ckpt` files: the one place, which looks for damage before anything of the file is used.

A checkpoint is a zip archive with a CRC of each record. PyTorch writes these and never compares them.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import torch

from rtseg.checks import is_bounded
from rtseg.data.header import is_image
from rtseg.errors import UserError

# What trainings of rtseg write, as far as anything here reads it.
_KINDS: dict[str, type] = {
    "model_card": dict, "state_dict": dict, "ema_state_dict": dict, "global_step": int, "epoch": int,
    "hyper_parameters": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict, "callbacks": dict,
    "total_steps": int, "scores": dict, "settings": dict, "nonfinite": dict, "skipped_steps": list, "world_size": int,
}  # fmt: skip
WEIGHTS = ("model_card", "state_dict")
SCORED = (*WEIGHTS, "global_step")
RESUMED = (*SCORED, "epoch", "hyper_parameters", "optimizer_states", "lr_schedulers", "loops", "callbacks")
_BLOCK = 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip's record: signature, length of its name, length of extra data


def load_checkpoint(
    path: str | Path, needs: Sequence[str] = WEIGHTS, *, mmap: bool = False, flag: str | None = None
) -> dict[str, Any]:
    """All that a checkpoint holds, on the CPU.

    Args:
        needs: the entries that it must have: `WEIGHTS`, `SCORED` or `RESUMED`.
        mmap: leave the tensors in the file until they are used, for what is used at once or not at all.
        flag: of the command line, by which the file was given, for errors.

    Raises:
        UserError: it is damaged, or was not written by a training of rtseg. Where a whole one stands beside it, the
            message names the newest.
    """
    path = Path(path)
    name = f"{flag}={path}" if flag else f"'{path}'"
    try:
        content = _load(path, mmap=mmap)
    except Exception as error:  # a file of another kind raises anything, as its bytes decide
        if is_image(path):
            raise UserError(
                f"{name} is an image, where a checkpoint is expected: give a .ckpt that a training wrote"
            ) from None
        size = path.stat().st_size
        what = "damaged or no rtseg checkpoint" if size else "empty"
        detail = f", {error}" if isinstance(error, _ChangedError) else ""
        raise UserError(
            f"{name} is {what} ({size} bytes{detail}): copy it again, or {_instead(path, needs, flag)}"
        ) from error
    if wrong := _wrong(content, needs):
        raise UserError(f"{name} was not written by an rtseg training: {wrong}")
    return content


class _ChangedError(Exception):
    """A record is not as it was written."""


def _load(path: Path, *, mmap: bool) -> Any:
    """Reads a checkpoint. Pickled data is compared with its CRC before it is used, tensors while they are loaded."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        records = _records(file)
        _check_records(file, [record for record in records if record.filename.endswith(".pkl")])
        intact = pool.submit(_check_records, file, records)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        finally:
            intact.result()  # what has changed says more than how PyTorch fails at it


def _records(file: FileIO) -> list[zipfile.ZipInfo]:
    """Lists the records of the archive.

    Raises:
        zipfile.BadZipFile, _ChangedError: it is not such an archive. A compressed record, or more bytes in the records
            than in the file, would be a bomb; a training never writes it.
    """
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
    if sum(record.file_size for record in records) > os.fstat(file.fileno()).st_size:
        raise _ChangedError("its records claim more bytes than it has")
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise _ChangedError(f"its record {record.filename!r} has changed")
    return records


def _check_records(file: FileIO, records: Sequence[zipfile.ZipInfo]) -> None:
    """Compares each record with its CRC; `ZipFile.open` would take longer for a small record than the CRC.

    Raises:
        OSError, _ChangedError: a record cannot be read, or has changed.
    """
    buffer = memoryview(bytearray(_BLOCK))
    for record in records:
        encoded = record.orig_filename.encode("utf-8" if record.flag_bits & 0x800 else "cp437")
        file.seek(record.header_offset)
        header = file.read(_LOCAL_HEADER.size + len(encoded))
        signature, length, extra = _LOCAL_HEADER.unpack(header[: _LOCAL_HEADER.size])
        if signature != b"PK\3\4" or length != len(encoded) or header[-length:] != encoded:
            raise _ChangedError(f"its record {record.filename!r} has changed")
        file.seek(extra, os.SEEK_CUR)
        left, crc = record.file_size, 0
        while left > 0 and (read := file.readinto(buffer[: min(left, _BLOCK)])):
            crc, left = zlib.crc32(buffer[:read], crc), left - read
        if left or crc != record.CRC:
            raise _ChangedError(f"its record {record.filename!r} has changed")


def _wrong(content: Any, needs: Sequence[str]) -> str | None:
    """What is wrong with the content as a checkpoint, for an error; None where nothing is."""
    if not isinstance(content, dict):
        return f"it does not contain a model card (found: {type(content).__name__})"
    if missing := [key for key in needs if key not in content]:
        found = ", ".join([key for key in content if isinstance(key, str)][:6]) or "nothing by name"
        what = "a model card" if missing[0] == "model_card" else f"its {missing[0]}"
        return f"it does not contain {what} (found: {found})"
    for key, kind in _KINDS.items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"its {key} is of type {type(value).__name__}, not {kind.__name__}"
    for key in ("state_dict", "ema_state_dict"):
        if not all(isinstance(name, str) for name in content.get(key, ())):
            return f"an entry of its {key} has no text as its name"
    for key in ("global_step", "epoch", "world_size"):
        if content.get(key, 0) < 0:
            return f"its {key} is {content[key]}"
    for key in ("optimizer_states", "lr_schedulers"):
        states = content.get(key, [])
        if key in needs and not (states and all(isinstance(state, dict) for state in states)):
            return f"its {key} do not contain a state to resume from"
    if not is_bounded(content, depth=32, entries=1_000_000):
        return "it is nested too deeply, or holds more than a million entries"
    return None


def _instead(path: Path, needs: Sequence[str], flag: str | None) -> str:
    """The newest whole checkpoint beside a damaged one, as a repair."""
    steps = {}
    for other in path.parent.glob("*.ckpt"):
        if other.resolve() != path.resolve():
            try:
                content = _load(other, mmap=True)
            except Exception:  # damaged too
                continue
            # One that a training keeps to look at a step that was not finite is none to resume from.
            if _wrong(content, (*needs, "global_step")) is None and "nonfinite" not in content:
                steps[other] = content["global_step"]
    if not steps:
        return "give another checkpoint of that training"
    newest = max(steps, key=lambda other: steps[other])
    given = f"{flag} {newest}" if flag else f"'{newest}'"
    return f"give {given}, the newest whole one beside it (step {steps[newest]})"
