"""What compiled libraries print by themselves, kept out of the standard output, which is for results."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_NAME = {"linux": "stdout", "darwin": "__stdoutp"}.get(sys.platform)  # C's variable


@contextmanager
def silent_c() -> Iterator[None]:
    """What C code prints to its `stdout` inside is dropped; it is printed where C has no such variable (Windows).

    The file descriptor stays as it is: Python's own output and child processes use it, also those of other threads.
    """
    if _NAME is None:
        yield
        return
    stdout, before, nowhere = _streams(_NAME)
    stdout.value = nowhere
    try:
        yield
    finally:
        stdout.value = before


@cache
def _streams(name: str) -> tuple[ctypes.c_void_p, int | None, int | None]:
    """C's variable, what it held at first, and a stream to nowhere. It is never closed: C++ may keep it."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
    stdout = ctypes.c_void_p.in_dll(libc, name)
    return stdout, stdout.value, libc.fopen(os.devnull.encode(), b"w") or stdout.value
