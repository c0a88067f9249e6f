"""The libraries below that report on their users, switched off before anything imports them."""

import os
import sys

# These have no switch. Importing one fails, as if it were not installed, and the library does without it.
_REPORTERS = (
    "openvino_telemetry",  # OpenVINO 2026.4 sends at its import, NNCF 3.4 at each quantisation
    # MNN 3.6's tools: this one has pip install a package, then asks its makers' server for a key, all at its import; it
    # sends names of files and a number for this machine with each conversion.
    "MNN.tools.utils.log",
)
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
    for reporter in _REPORTERS:
        sys.modules.setdefault(reporter, None)  # type: ignore[arg-type]
