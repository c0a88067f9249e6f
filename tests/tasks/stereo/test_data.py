"""Batches of pairs: crops are a function of the position, and bad pairs are refused or left out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rtseg.data.pfm import read_pfm, write_pfm
from rtseg.errors import UserError
from rtseg.scenes import make_data
from rtseg.tasks.stereo.data import StereoData


def data(root: Path, **options: object) -> StereoData:
    options = {"batch_size": 2, "crop_size": (32, 48), "num_workers": 0, **options}
    return StereoData(str(root), **options)  # type: ignore[arg-type]


def test_crops_of_both_images_and_disparities_belong_together(pairs: Path) -> None:
    first, again, other = (next(iter(data(pairs, seed=seed).train_dataloader())) for seed in (0, 0, 1))
    assert first.image.shape == first.right.shape == (2, 3, 32, 48)
    assert first.image.dtype == torch.uint8
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.disparity, again.disparity)
    assert not torch.equal(first.image, other.image)
    whole = {batch.name[0]: batch for batch in data(pairs, crop_size=(64, 96), batch_size=2).train_dataloader()}
    for name, batch in whole.items():
        assert batch.disparity.shape == (2, 64, 96)
        assert torch.equal(batch.disparity[0], torch.from_numpy(read_pfm(pfm_of(pairs, name))))


def pfm_of(root: Path, name: str) -> Path:
    return root / name.replace("frames_cleanpass", "disparity").replace(".png", ".pfm")


def test_validation_takes_whole_images(pairs: Path) -> None:
    batches = list(data(pairs, eval_batch_size=2).val_dataloader())
    assert [batch.disparity.shape for batch in batches] == [(2, 64, 96)]


def test_crops_larger_than_an_image_are_refused(pairs: Path) -> None:
    with pytest.raises(UserError, match=r"the smallest training image has a width of 96"):
        data(pairs, crop_size=(64, 128)).setup("fit")
    with pytest.raises(UserError, match=r"data\.bad=ignore is unknown"):
        data(pairs, bad="ignore")


def test_bad_disparities_are_refused_or_left_out_and_counted(tmp_path: Path) -> None:
    root = make_data("sceneflow", 2, tmp_path / "data", n_val=1, size=(64, 96))
    file = root / "FlyingThings3D/disparity/TEST/A/0000/left/0006.pfm"
    values = read_pfm(file)
    values[0, :3] = np.nan, -1, np.inf
    write_pfm(file, values)
    for stage in ("fit", "validate"):
        with pytest.raises(
            UserError, match=r"^1 of \d disparity files .*\n.* of 6,144 disparities 1 are NaN and 1 neg"
        ):
            data(root).setup(stage)
        data(root, bad="skip").setup(stage)
    with pytest.raises(UserError, match="of 6,144 disparities 1 are NaN and 1 negative"):
        next(iter(data(root).val_dataloader()))
    batch = next(iter(data(root, bad="skip").val_dataloader()))
    assert batch.bad == [2]
    assert (batch.disparity[0, 0, :3] == 0).all()
