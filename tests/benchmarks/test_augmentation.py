"""The script that times the augmentations beside mmsegmentation's and PaddleSeg's, and what it takes these to be."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import augmentation
from benchmarks.rival_augmentations import MMSEGMENTATION, PADDLESEG, Draft, Pipeline
from rtseg.data import create_dataset


@pytest.mark.parametrize("pipeline", [MMSEGMENTATION, PADDLESEG], ids=["mmsegmentation", "PaddleSeg"])
@pytest.mark.parametrize("crop", [(24, 32), (120, 130)])
def test_definitions_give_samples(tiny_camvid: Path, pipeline: Pipeline, crop: tuple[int, int]) -> None:
    pairs = create_dataset("camvid", tiny_camvid, "train").pairs
    for seed in range(10):
        draft = Draft(pairs[seed], crop, np.random.default_rng(seed))
        for _, step in pipeline:
            step(draft)
        assert draft.tensors is not None
        image, mask = draft.tensors
        assert image.shape == (3, *crop)
        assert (mask.shape, mask.dtype) == (crop, torch.int64)
        assert set(mask.unique().tolist()) <= {*range(12), 255}


@pytest.mark.slow
def test_figures(
    tiny_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "augmentation.json"
    flags = ["--root", str(tiny_camvid), "--number", "8", "--rounds", "1", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", ["augmentation.py", *flags])
    augmentation.main()
    results = json.loads(output.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == results
    assert [one["size"] for one in results["sets"].values()] == [[40, 56], [1024, 2048], [1024, 2048]]
    for one in results["sets"].values():
        assert one["images/s a core"].keys() == {"rtseg", "rtseg, data.cache", "mmsegmentation", "PaddleSeg"}
        assert all(rate > 0 for rate in one["images/s a core"].values())


def test_a_bad_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["augmentation.py", "--rounds", "0"])
    with pytest.raises(SystemExit, match="error: --rounds 0 must be at least 1"):
        augmentation.main()
