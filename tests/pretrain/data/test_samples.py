"""Samples become batches."""

import torch

from pretrain.data.samples import Batch, Sample, collate


def test_batches_are_channels_last_copies() -> None:
    images = [torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8) for _ in range(3)]
    batch = collate([Sample(image, k, k % 2) for k, image in enumerate(images)])
    assert isinstance(batch, Batch)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.image, torch.stack(images))
    assert batch.label.dtype == torch.int64
    assert batch.label.tolist() == [0, 1, 2]
    assert batch.skipped == 1
