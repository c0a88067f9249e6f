"""The process's only `openvino.Core`."""

import importlib
from functools import cache
from typing import Any


@cache
def core() -> Any:
    """Shared by all engines, and never given up.

    A core gives the thread that first compiles an alternate stack for signals, and takes it away when it goes. Where
    two go in the order in which they came, the second puts back the stack of the first, which is no more, and the next
    signal with a handler, such as the end of a loader's process, ends this one without a word (OpenVINO 2026.4).
    """
    return importlib.import_module("openvino").Core()
