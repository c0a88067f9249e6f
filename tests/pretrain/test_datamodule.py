import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from pretrain.data.augment import AugmentConfig
from pretrain.data.make_shards import write_shards
from pretrain.data.samples import IGNORED, Batch
from pretrain.datamodule import ImageNetData, accumulated_parts
from rtseg.errors import UserError

SMALL = AugmentConfig(image_size=16)


@pytest.fixture(scope="module")
def packed(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images in shards."""
    output = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(animals, output, per_shard=4, workers=1)
    return output


@pytest.fixture(params=["folder", "shards"])
def root(request: pytest.FixtureRequest, animals: Path, packed: Path) -> str:
    """Either layout."""
    return str(animals if request.param == "folder" else packed)


def on_rank(data: ImageNetData, rank: int, world_size: int) -> ImageNetData:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, accumulate_grad_batches=1)  # type: ignore[assignment]
    return data


def prints(loader: Any) -> list[bytes]:
    return [batch.image.contiguous().numpy().tobytes() + batch.label.numpy().tobytes() for batch in loader]


@pytest.mark.parametrize(
    ("batch_size", "device_batch_size", "world_size", "parts"),
    [(1024, 128, 8, 1), (1024, 128, 1, 8), (1024, 128, 4, 2), (1024, 2048, 2, 1), (96, 64, 3, 1), (6, 1, 2, 3)],
)
def test_what_is_accumulated(batch_size: int, device_batch_size: int, world_size: int, parts: int) -> None:
    assert accumulated_parts(batch_size, device_batch_size, world_size) == parts


@pytest.mark.parametrize(
    ("batch_size", "device_batch_size", "world_size", "says"),
    [
        (1024, 128, 3, "must be a multiple of 3, such as 1023 or 1026"),
        (2, 128, 4, "must be a multiple of 4, such as 4;"),
        (1024, 100, 2, r"2 devices x 100 images: give data.device_batch_size=64, or data.batch_size=1000 or 1200"),
    ],
)
def test_batches_that_do_not_divide(batch_size: int, device_batch_size: int, world_size: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        accumulated_parts(batch_size, device_batch_size, world_size)


def test_the_trainer_accumulates(animals: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = on_rank(ImageNetData(str(animals), batch_size=12, device_batch_size=3), 0, 2)
    trainer: Any = data.trainer
    data.setup("validate")
    assert trainer.accumulate_grad_batches == 1
    with caplog.at_level(logging.INFO):
        data.setup("fit")
        data.setup("fit")
    assert trainer.accumulate_grad_batches == 2
    assert "Global batch 12 = 2 devices x 3 x 2 accumulated" in caplog.text
    trainer.accumulate_grad_batches = 4
    with pytest.raises(UserError, match=r"accumulate_grad_batches=4 is decided by the batch: .*12 on 2 devices is 2"):
        data.setup("fit")


def test_classes_and_images(root: str) -> None:
    data = ImageNetData(root)
    assert (data.num_classes, data.classes, data.train_size) == (3, ("cat", "dog", "owl"), 15)


def test_another_number_of_classes_than_expected(root: str) -> None:
    assert ImageNetData(root, expected_classes=3).num_classes == 3
    with pytest.raises(UserError, match=r"has 3 classes, data\.expected_classes=1000: .*--data\.expected_classes=3 "):
        _ = ImageNetData(root, expected_classes=1000).classes
    with pytest.raises(UserError, match="there is no such folder"):
        _ = ImageNetData("nowhere", expected_classes=1000).classes


def test_no_root_at_all() -> None:
    with pytest.raises(UserError, match=r"data\.root is empty: give the folder .*--data\.root=/data/imagenet"):
        _ = ImageNetData("").classes


@pytest.mark.parametrize("world_size", [1, 2])
def test_batches(root: str, world_size: int) -> None:
    labels = []
    for rank in range(world_size):
        data = on_rank(ImageNetData(root, 8, 2, num_workers=0, augment=SMALL, eval_batch_size=4), rank, world_size)
        train, val = data.train_dataloader(), data.val_dataloader()
        batches = list(train)
        assert len(batches) == len(train) == 4 // world_size
        assert all(batch.image.shape == (2, 3, 16, 16) and batch.image.dtype == torch.uint8 for batch in batches)
        evaluated = list(val)
        assert len(evaluated) == len(val)
        assert max(len(batch.label) for batch in evaluated) == (4 if world_size == 1 else 3)
        labels += [label for batch in evaluated for label in batch.label.tolist()]
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]


def test_workers_do_not_change_the_order_of_a_folder(animals: Path) -> None:
    found = [
        prints(ImageNetData(str(animals), 4, num_workers=workers, augment=SMALL).train_dataloader())
        for workers in (0, 1, 2)
    ]
    assert found[0] == found[1] == found[2]


def test_the_training_keeps_its_random_numbers(root: str) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    prints(ImageNetData(root, 4, num_workers=0, augment=SMALL).train_dataloader())
    assert torch.rand(1) == wanted


def test_bad_files_reach_the_batch(own_animals: Path, spoilt: Callable[[str], bytes]) -> None:
    (own_animals / "train" / "cat" / "cat.0.JPEG").write_bytes(spoilt("truncated"))
    data = ImageNetData(str(own_animals), 15, num_workers=2, augment=SMALL)
    with pytest.raises(UserError, match=r"cat\.0\.JPEG: broken image"):
        list(data.train_dataloader())
    (batch,) = ImageNetData(str(own_animals), 15, broken="skip", augment=SMALL).train_dataloader()
    assert batch.skipped == 1
    assert IGNORED not in batch.label


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_and_not_scored(
    own_animals: Path, spoilt: Callable[[str], bytes], workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In either layout; once in each process, however often it is read."""
    (own_animals / "val" / "dog" / "dog.0.JPEG").write_bytes(spoilt("truncated"))
    shards = write_shards(own_animals, tmp_path / "shards", workers=1).root
    for root in (str(own_animals), shards):
        data = ImageNetData(root, broken="skip", num_workers=workers, augment=SMALL, eval_batch_size=6)
        capfd.readouterr()
        loader = data.val_dataloader()
        for _ in range(2):
            (batch,) = loader
            assert sorted(batch.label.tolist()) == [IGNORED, 0, 0, 1, 2, 2]
            assert batch.skipped == 1
            assert batch.image.shape == (6, 3, 16, 16)
            assert not batch.image[batch.label == IGNORED].any()
        lines = [line for line in capfd.readouterr().err.splitlines() if "broken" in line]
        assert len(lines) == 1
        assert re.match(rf"data\.broken=skip: {root}/.*dog.0\..*: broken image \(.*\), left out of", lines[0])


class Recorder(L.LightningModule):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, bytes]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.image.contiguous().numpy().tobytes()))
        return self.weight * batch.label.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root: str, folder: Path, steps: int, resume: Path | None = None, workers: int = 1) -> Recorder:
    """Writes a checkpoint after each step."""
    module = Recorder()
    data = ImageNetData(root, 4, 2, num_workers=workers, augment=SMALL)
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, limit_val_batches=0,
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)],
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=resume, weights_only=True if resume else None)
    return module


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_lightning_resumes_exactly(root: str, tmp_path: Path, cut: int) -> None:
    """Three steps of two parts each an epoch; cut inside the first, at its end, inside the second."""
    whole = fit(root, tmp_path, 8).seen
    assert [epoch for epoch, _ in whole] == [0] * 6 + [1] * 6 + [2] * 4
    assert len(set(whole)) == 16
    assert fit(root, tmp_path / "resumed", 8, tmp_path / f"step={cut}.ckpt").seen == whole[2 * cut :]


def test_another_order_of_shards_is_refused_inside_an_epoch(packed: Path, tmp_path: Path) -> None:
    fit(str(packed), tmp_path, 2)
    with pytest.raises(UserError, match="stands inside epoch 0 with num_workers=1"):
        fit(str(packed), tmp_path, 8, tmp_path / "step=2.ckpt", workers=2)


def test_another_layout_is_refused(animals: Path, packed: Path) -> None:
    for first, second, says in ((animals, packed, "from class folders"), (packed, animals, "from shards")):
        data, other = (ImageNetData(str(root), 4, num_workers=0, augment=SMALL) for root in (first, second))
        next(iter(data.train_dataloader()))
        other.load_state_dict(data.state_dict())
        with pytest.raises(UserError, match=f"but the checkpoint was trained {says}"):
            other.train_dataloader()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_workers": -1}, "num_workers=-1 must be from 0 to 1024"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"device_batch_size": 0}, "device_batch_size=0 must be at least 1"),
        ({"eval_batch_size": 0}, "eval_batch_size=0 must be at least 1"),
        ({"broken": "ignore"}, "broken=ignore is unknown. Known: refuse, skip"),
    ],
)
def test_refuses(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ImageNetData("nowhere", **options)


def test_refuses_more_devices_than_images(root: str) -> None:
    with pytest.raises(UserError, match="6 'val' images for 7 devices"):
        on_rank(ImageNetData(root), 0, 7).val_dataloader()
    with pytest.raises(UserError, match="batch_size=1024 is more than the 15 training images"):
        ImageNetData(root).train_dataloader()


def test_a_stalled_read_is_named(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("read", "read_or_skip"):
        monkeypatch.setattr(f"pretrain.data.imagenet.ImageFolder.{name}", lambda *_: time.sleep(60))
    monkeypatch.setattr("pretrain.data.shard_reader.tar_images", lambda *_: iter(lambda: time.sleep(60), 0))
    data = ImageNetData(root, batch_size=2, num_workers=1, augment=SMALL, timeout=0.3)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        with pytest.raises(UserError, match=rf"They are reading: {root}/"):
            list(loader)
