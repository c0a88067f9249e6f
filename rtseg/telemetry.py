"""The libraries below that report on their users, switched off before anything imports them."""

import os
import sys

# OpenVINO 2026.4 sends at its import, NNCF 3.4 at each quantisation, both by this package, which has no switch but a
# file in the home folder. Both do without it where it is not installed.
_REPORTER = "openvino_telemetry"
_SWITCHES = (
    "ORT_DISABLE_TELEMETRY",  # ONNX Runtime 1.32: each session, and a number for this machine in the home folder
    "HF_HUB_DISABLE_TELEMETRY",  # huggingface_hub and transformers
    "NO_ALBUMENTATIONS_UPDATE",  # albumentations asks PyPI for its newest version
)


def switch_off() -> None:
    """Keeps every library of this process, and of those that it starts, from reporting to its makers.

    A switch that the environment sets is left as it is. What was imported before this is not called back.
    """
    for name in _SWITCHES:
        os.environ.setdefault(name, "1")
    sys.modules.setdefault(_REPORTER, None)  # type: ignore[arg-type]  # importing it fails, as if it were not installed
