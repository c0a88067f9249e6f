"""What decoders print while they mend a damaged file; they say it nowhere else."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


class DecoderWords:
    """What the process has written to its standard error, while `listening` lasts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @property
    def length(self) -> int:
        """How many bytes were written so far."""
        return os.fstat(self._file.fileno()).st_size

    def since(self, length: int) -> str:
        """What was written since `length` was asked for."""
        return os.pread(self._file.fileno(), 65536, length).decode(errors="replace")


@contextmanager
def listening() -> Iterator[tuple[DecoderWords, int]]:
    """Keeps the standard error of the process, all threads' and all libraries', out of sight.

    Yields:
        What is written there; and a descriptor of the standard error as it was, for what is to be seen meanwhile.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield DecoderWords(file), before
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
