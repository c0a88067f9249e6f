"""What was seen in each file, kept between commands: a check that was stopped goes on, a second one is quick."""

import hashlib
import json
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import rtseg.data.findings as findings
from rtseg.data.findings.looking import Job
from rtseg.data.findings.looks import ImageLook, MaskLook, as_json, image_from_json, mask_from_json
from rtseg.errors import UserError
from rtseg.output.lock import locked_target
from rtseg.paths import cache_folder


class Record:
    """A file of lines, the last of a file counts. A file that has changed by size or time is looked at anew.

    Where the cache cannot be written, or another check of the same data is at work, nothing is kept.

    Args:
        root: of the data set.
        what: else makes looks differ.
    """

    def __init__(self, root: Path, *what: object) -> None:
        name = hashlib.sha256(repr((os.path.realpath(root), _code(), *what)).encode()).hexdigest()[:24]
        self.file = cache_folder() / "check_data" / f"{name}.jsonl"
        self._known: dict[str, dict[str, Any]] = {}
        self._lines: IO[str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> "Record":
        with suppress(OSError, ValueError), self.file.open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, TypeError, KeyError):  # the last one may be cut
                    facts = json.loads(line)
                    self._known[facts["key"]] = facts
        with suppress(OSError, UserError):
            self._open.enter_context(locked_target(self.file))
            self._lines = self._open.enter_context(self.file.open("a", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._open.close()

    def look(self, job: Job) -> ImageLook | MaskLook | None:
        """What is known of a file as it is now."""
        facts = self._known.get(_key(job))
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            if facts is not None and facts["state"] == _state(job.path):
                return image_from_json(facts["look"]) if job.what == "image" else mask_from_json(facts["look"])
        return None

    def keep(self, job: Job, look: ImageLook | MaskLook) -> None:
        """Writes a line."""
        if self._lines is None or look.fault is not None:  # a disk may give the file next time
            return
        with suppress(OSError):
            line = {"key": _key(job), "state": _state(job.path), "look": as_json(look)}
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()


def _key(job: Job) -> str:
    return f"{job.what} {os.path.realpath(job.path)}"


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _code() -> str:
    """A digest of the code that looks: what older code saw is not used."""
    folder = Path(findings.__file__).parent
    files = (folder / name for name in ("image_look.py", "mask_look.py", "looks.py", "pixel_format.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
