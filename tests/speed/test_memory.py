"""Memory that is measured in another process, which may fail, end, or not start."""

import os
import subprocess
import sys

import pytest

from rtseg.speed.memory import measured_apart


def answer(number: int) -> int:
    if number == 0:
        raise ValueError("refused")
    if number < 0:
        os._exit(1)
    return number


def test_what_cannot_be_sent_has_no_figure() -> None:
    assert measured_apart(lambda: 1, [()]) == [None]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells the peak")
def test_a_call_that_fails_or_ends_its_process_costs_itself_alone() -> None:
    assert measured_apart(answer, [(3,), (0,), (4,), (-1,), (5,)]) == [3, None, 4, None, 5]


@pytest.mark.slow
def test_a_process_that_cannot_start_is_tried_once() -> None:
    """A program from the standard input has no file, which the new process would read."""
    program = "from rtseg.speed.memory import measured_apart\nprint(measured_apart(len, [('a',), ('b',)]))"
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True)
    assert done.stdout == "[None, None]\n"
    assert done.stderr.count("FileNotFoundError") <= 1
