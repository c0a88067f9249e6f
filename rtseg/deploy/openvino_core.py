"""The process's only `openvino.Core`."""

import importlib
from functools import cache
from typing import Any


@cache
def core() -> Any:
    """The core that all engines share. It is never deleted.

    A core gives the thread that first compiles an alternate stack for signals, and removes it when it is deleted. If
    two cores are deleted in the order of their making, the second restores the stack of the first, which is gone. The
    next signal with a handler, such as the end of a loader's process, then ends this process without a message
    (OpenVINO 2026.4).
    """
    return importlib.import_module("openvino").Core()
