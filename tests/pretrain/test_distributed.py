"""Devices and accumulation change nothing in what is learnt from a global batch."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fresh import run_fresh
from tests.pretrain import curve as script

STEPS = 25
# The second process is a fork of the first: as Lightning starts it, it would import torch again.
TWO = """
import os, socket
from tests.pretrain.curve import main
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}}
second = os.fork()
os.environ["LOCAL_RANK"] = "0" if second else "1"
main(*{arguments!r})
if second:
    assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 0
"""


def curve(root: Path, output: Path, devices: int, device_batch_size: int) -> dict[str, Any]:
    """On one device in this process, on two in new ones."""
    arguments = (str(root), str(output), devices, device_batch_size, STEPS)
    if devices == 1:
        script.main(*arguments)
    else:
        status, _, errors = run_fresh(TWO.format(arguments=arguments), output.parent)
        assert status == 0, errors[-3000:]
    return json.loads(output.read_text())


def test_two_processes_and_accumulation_follow_the_curve_of_one(tiny_imagenet: Path, tmp_path: Path) -> None:
    """25 steps of eight images over several epochs: at once; as two halves; as the halves of two processes."""
    alone = curve(tiny_imagenet, tmp_path / "alone.json", 1, 8)
    halves = curve(tiny_imagenet, tmp_path / "halves.json", 1, 4)
    shared = curve(tiny_imagenet, tmp_path / "shared.json", 2, 4)
    pairs = halves["losses"]
    accumulated = [(first + second) / 2 for first, second in zip(pairs[::2], pairs[1::2], strict=True)]
    assert len(alone["losses"]) == STEPS
    assert alone["losses"][-1] < 0.9 * alone["losses"][0]  # it learns
    assert shared["losses"] == pytest.approx(alone["losses"], rel=1e-8)
    assert accumulated == pytest.approx(alone["losses"], rel=1e-8)
    assert shared["scores"] == pytest.approx(alone["scores"], rel=1e-5)
    assert halves["scores"] == pytest.approx(alone["scores"], rel=1e-5)
