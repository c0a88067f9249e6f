"""Devices and accumulation change nothing in what is learnt from a global batch."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("curve.py")
STEPS = 50


def curve(root: Path, output: Path, devices: int, device_batch_size: int) -> dict[str, Any]:
    """On one device in this process, on several in new ones."""
    if devices == 1:
        spec = importlib.util.spec_from_file_location("curve", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        script.main(str(root), str(output), devices, device_batch_size, STEPS)
        return json.loads(output.read_text())
    command = [sys.executable, SCRIPT, root, output, devices, device_batch_size, STEPS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(output.read_text())


def test_two_processes_and_accumulation_follow_the_curve_of_one(tiny_imagenet: Path, tmp_path: Path) -> None:
    """50 steps of eight images over several epochs: at once; as two halves; as the halves of two processes."""
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
