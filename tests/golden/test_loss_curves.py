"""A change of code that changes a training changes one of these curves; see make.py beside this file."""

from typing import Any

import numpy as np
import pytest

from rtseg.models.backbone import create_backbone
from tests.golden.make import STEPS, cases, kind_of_processor, loss_curve, read

COMMAND = "python -m tests.golden.make"


@pytest.mark.parametrize("name", cases())
def test_the_training_is_the_recorded_one(name: str) -> None:
    recording: dict[str, Any] = read()
    assert name in recording["curves"], f"'{name}' has no golden loss curve yet. Record it: {COMMAND}"
    recorded, curve = recording["curves"][name], loss_curve(**cases()[name])
    assert len(curve) == STEPS
    if recording["elsewhere"].get(name, recording["made_on"]) == kind_of_processor():
        assert curve == recorded, f"a change of code changed this training. If that is meant: {COMMAND} --again"
        return
    # Another processor rounds otherwise. AdamW makes whole steps of gradients that are rounding noise, such as those of
    # a constant before BatchNorm: the first losses are the same, later ones are alike.
    wider = 5 if has_threshold(cases()[name]["name"]) else 1
    np.testing.assert_allclose(curve[:2], recorded[:2], rtol=wider * 1e-5)
    np.testing.assert_allclose(curve, recorded, rtol=wider * 0.1)
    np.testing.assert_allclose(np.mean(curve[-5:]), np.mean(recorded[-5:]), rtol=wider * 0.03)


def has_threshold(model: str) -> bool:
    """Whether a loss is of the pixels at which an output passes a threshold: rounding decides which these are."""
    outputs = create_backbone(model).outputs.values()
    return any(output.loss == "cross_entropy_at_boundary" for output in outputs)


def test_no_curve_is_left_over() -> None:
    assert read()["curves"].keys() == cases().keys()
