"""The process's only `openvino.Core`, and how NNCF quantises for it."""

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


def quantization(nncf: Any, model: Any) -> dict[str, Any]:
    """NNCF's settings for an `openvino.Model`, in which these lose the least at nearly full speed.

    Ranges of feature maps need not have 0 in the middle. AvgPool stays in float, because OpenVINO pads it with another
    number than 0 then (OpenVINO 2026.4). The first convolution, too: NNCF gives it 7 bits, since older processors
    overflow in it.
    """
    first = next(node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    return {
        "preset": nncf.QuantizationPreset.MIXED,
        "target_device": nncf.TargetDevice.CPU,
        "ignored_scope": nncf.IgnoredScope(names=[first], types=["AvgPool"], validate=False),
    }
