"""Batches of stereo pairs for training and evaluation.

B batch, H, W height and width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rtseg.checks import check_at_least, check_one_of
from rtseg.data.files import read_image
from rtseg.data.intact import check_files
from rtseg.data.origin import read_origin
from rtseg.errors import UserError
from rtseg.tasks.stereo.disparity_files import BAD, Bad, read_disparity
from rtseg.tasks.stereo.layouts import Found, StereoPair, find_pairs, list_stereo_datasets, named
from rtseg.terminal import counted
from rtseg.training.loading import reading
from rtseg.training.resumable_data import ResumableData, named_images
from rtseg.training.sampling import ResumableLoader, SampleKey, sample_seed
from rtseg.training.settings import flat


class StereoBatch(NamedTuple):
    """Pairs of one size.

    Attributes:
        image, right: (B, 3, H, W) uint8 RGB; the first is the left image.
        disparity: (B, H, W) float32 in pixels, of the left image; 0 where it is unknown.
        name: of each pair.
        bad: how many disparities of each file were NaN or negative, and are unknown now.
    """

    image: Tensor
    right: Tensor
    disparity: Tensor
    name: list[str]
    bad: list[int]


class _Pairs(Dataset[StereoBatch]):
    """Pairs of files, whole, each as a batch of one."""

    def __init__(self, pairs: Sequence[StereoPair], bad: Bad) -> None:
        self.pairs, self.bad = pairs, bad

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> StereoBatch:
        pair = self.pairs[index]
        with reading(*pair[:3]):
            left, right = read_image(pair.left), read_image(pair.right)
            disparity = read_disparity(pair.disparity, self.bad)
        sizes = {array.shape[:2] for array in (left, right, disparity.values)}
        if len(sizes) > 1:  # an image may be turned by its EXIF tag, which headers do not show
            raise UserError(f"{pair.left}: its right image or disparities are of another size, of {sorted(sizes)}")
        image, other = (torch.from_numpy(pixels).permute(2, 0, 1)[None] for pixels in (left, right))
        return StereoBatch(image, other, torch.from_numpy(disparity.values)[None], [pair.name], [disparity.bad])


class _Crops(Dataset[StereoBatch]):
    """Random crops of pairs, a function of (seed, epoch, pair); the authors augment in no other way."""

    def __init__(self, pairs: _Pairs, crop_size: tuple[int, int], seed: int) -> None:
        self.pairs, self.crop_size, self.seed = pairs, crop_size, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey) -> StereoBatch:
        batch = self.pairs[key.sample]
        rng = np.random.default_rng(sample_seed(self.seed, key.epoch, key.sample))
        spare = (whole - part for whole, part in zip(batch.disparity.shape[1:], self.crop_size, strict=True))
        top, left = (int(rng.integers(most + 1)) for most in spare)
        rows, columns = slice(top, top + self.crop_size[0]), slice(left, left + self.crop_size[1])
        image, right, disparity = (values[..., rows, columns] for values in batch[:3])
        return StereoBatch(image, right, disparity, batch.name, batch.bad)


def _collate(batches: Sequence[StereoBatch]) -> StereoBatch:
    if len({batch.disparity.shape for batch in batches}) > 1:
        raise UserError(
            f"{batches[0].name[0]} and others of its batch are of different sizes: give --data.eval_batch_size=1"
        )
    return StereoBatch(
        torch.cat([batch.image for batch in batches]),
        torch.cat([batch.right for batch in batches]),
        torch.cat([batch.disparity for batch in batches]),
        [name for batch in batches for name in batch.name],
        [number for batch in batches for number in batch.bad],
    )


class StereoData(ResumableData):
    """Training and validation batches of stereo pairs.

    Args:
        dataset: sceneflow, sceneflow_final, kitti2012, kitti2015 or middlebury, see `rtseg.tasks.stereo.layouts`.
        root: its folder.
        batch_size: pairs of one training step, over all devices.
        crop_size: (height, width) of the training crops.
        num_workers: loader processes of each device process.
        bad: what is done about pairs whose files are missing, broken or of different sizes, and about disparities that
            are NaN or negative: "refuse", or "skip", which leaves these out and counts them.
        eval_batch_size: pairs that are scored at a time; `val/epe_batch_mean` depends on it.
        seed: of the order and of the crops.
        timeout: seconds that the training waits for a batch of the loader processes; 0: for ever.

    Raises:
        UserError: a value that is out of range.
    """

    def __init__(
        self,
        root: str,
        dataset: str = "sceneflow",
        batch_size: int = 12,
        crop_size: tuple[int, int] = (256, 512),
        num_workers: int = 2,
        bad: Bad = "refuse",
        eval_batch_size: int = 1,
        seed: int = 0,
        timeout: float = 300,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed, timeout=timeout)
        check_one_of("data.dataset", dataset, list_stereo_datasets())
        check_one_of("data.bad", bad, BAD)
        check_at_least("data.eval_batch_size", eval_batch_size, 1)
        for side in crop_size:
            check_at_least("data.crop_size", side, 1)
        self.dataset, self.root, self.crop_size = dataset, Path(root), crop_size
        self.bad, self.eval_batch_size = bad, eval_batch_size
        self._splits: dict[str, Found] = {}

    @property
    def origin(self) -> str | None:
        """Where the training images come from, if their folder says so."""
        return read_origin(self.split("train").pairs[0].left)

    def split(self, name: str) -> Found:
        """The pairs of "train" or "val", looked for once; says which are left out."""
        if name not in self._splits:
            found = self._splits[name] = find_pairs(self.dataset, self.root, name, self.bad)
            if found.left_out:
                rank_zero_info(f"Left out {len(found.left_out)} '{name}' pairs:{named(found.left_out)}")
        return self._splits[name]

    def setup(self, stage: str) -> None:
        """Raises: UserError where pairs are missing or smaller than the crops, or disparities are bad and refused."""
        if stage != "fit":
            rank_zero_info(f"{counted(len(self.split('val').pairs), 'pair')} to score.")
            self._check_disparities("val")
            return
        found = self.split("train")
        scored = self.trainer is None or self.trainer.limit_val_batches
        validation = f", {counted(len(self.split('val').pairs), 'pair')} for validation" if scored else ""
        rank_zero_info(f"{counted(len(found.pairs), 'pair')} for training{validation}.")
        for what, least, crop in zip(("height", "width"), found.smallest, self.crop_size, strict=True):
            if crop > least:
                raise UserError(
                    f"data.crop_size={list(self.crop_size)}: the smallest training image has a {what} of {least}; "
                    "give smaller crops"
                )
        self._check_disparities(*["val"] * bool(scored), "train")

    def _check_disparities(self, *splits: str) -> None:
        """Reads the disparity files of some splits, so that a bad one does not end the command later."""
        files = [pair.disparity for split in splits for pair in self.split(split).pairs]
        if self.bad == "refuse" and (looked := check_files(files, "disparity", read_disparity)) < len(files):
            rank_zero_info(f"Of {len(files)} disparity files, {looked} were looked at in the time for it.")

    def settings(self) -> dict[str, Any]:
        """Which pairs it is trained on counts as well; where they lie does not."""
        names = [pair.name for pair in self.split("train").pairs]
        return super().settings() | {"data.images": named_images(names)}

    def scoring(self) -> dict[str, Any]:
        return flat("data", {"dataset": self.dataset, "eval_batch_size": self.eval_batch_size}, ())

    def create_train_loader(self) -> ResumableLoader:
        crops = _Crops(_Pairs(self.split("train").pairs, self.bad), self.crop_size, self.seed)
        return self.train_loader(crops, _collate)

    def val_dataloader(self) -> DataLoader[StereoBatch]:
        pairs = _Pairs(self.split("val").pairs, self.bad)
        return self.eval_loader(pairs, "val", _collate, self.eval_batch_size)
