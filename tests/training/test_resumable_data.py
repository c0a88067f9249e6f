"""What the data of all trainings have in common, here with numbers in place of images."""

import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from rtseg.data.dataset import SegmentationDataset
from rtseg.errors import UserError
from rtseg.training.datamodule import SegmentationData
from rtseg.training.resumable_data import ResumableData
from rtseg.training.sampling import GlobalBatchSampler, ResumableLoader, SampleKey


class Numbers(Dataset[int]):
    def __getitem__(self, key: SampleKey) -> int:
        return key.sample


class NumberData(ResumableData):
    """Ten numbers, two at a time."""

    def __init__(self, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__(batch_size=2, num_workers=num_workers, seed=seed)

    def create_train_loader(self) -> ResumableLoader:
        batches = GlobalBatchSampler(10, self.batch_size, seed=self.seed, **self.ranks())
        return ResumableLoader(Numbers(), batches, **self.loader_options())


def on_rank(rank: int, world_size: int) -> NumberData:
    data = NumberData()
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
    return data


def order(data: ResumableData) -> list[int]:
    return [int(number) for batch in data.train_dataloader() for number in batch]


def test_a_position_is_resumed_once() -> None:
    data, resumed = NumberData(), NumberData()
    assert data.state_dict() == {}
    batches = iter(data.train_dataloader())
    seen = [int(number) for _ in range(3) for number in next(batches)]
    resumed.load_state_dict(data.state_dict())
    assert seen + order(resumed) == order(NumberData())
    assert order(resumed) == order(NumberData())  # a second loader begins with the epoch


def test_a_position_in_another_order_is_refused() -> None:
    data = NumberData()
    data.train_dataloader()
    other = NumberData(seed=1)
    other.load_state_dict(data.state_dict())
    with pytest.raises(UserError, match="seed=0 in its training data, now it is 1"):
        other.train_dataloader()


def test_processes_share_the_training_batches() -> None:
    both = [order(on_rank(rank, 2)) for rank in range(2)]
    assert [number for pair in zip(*both, strict=True) for number in pair] == order(NumberData())


def test_processes_share_the_evaluation() -> None:
    shares = [list(on_rank(rank, 3).eval_share(10, "val")) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == list(range(10))
    assert list(NumberData().eval_share(10, "val")) == list(range(10))
    with pytest.raises(UserError, match="3 'val' images for 4 devices: each needs one; use fewer devices"):
        on_rank(0, 4).eval_share(3, "val")


def test_the_training_keeps_its_random_numbers() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    order(NumberData())
    assert torch.rand(1) == wanted


def test_fewer_than_no_workers_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"data\.num_workers=-1 must be from 0 to 1024; 0 loads in the training process"
    ):
        SegmentationData("camvid", "nowhere", num_workers=-1)


class Facts(Dataset[tuple[int, int, bool]]):
    """What is true in the process that loads."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[int, int, bool]:
        return torch.get_num_threads(), cv2.getNumThreads(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_worker_is_one_thread_and_leaves_ctrl_c_to_the_training() -> None:
    (facts,) = DataLoader(Facts(), batch_size=None, **NumberData(num_workers=1).loader_options())
    assert tuple(facts) == (1, 1, True)


@pytest.mark.parametrize("split", ["train", "val"])
def test_segmentation_names_the_files_that_it_stands_still_at(
    split: str, tiny_camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SegmentationDataset, "__getitem__", lambda *_: time.sleep(60))
    data = SegmentationData("camvid", str(tiny_camvid), batch_size=2, num_workers=1, timeout=0.3)
    loader: Any = data.train_dataloader() if split == "train" else data.val_dataloader()
    with pytest.raises(
        UserError, match=rf"They are reading: {tiny_camvid}/{split}/\d+.png and {tiny_camvid}/{split}annot"
    ):
        list(loader)
