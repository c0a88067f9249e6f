import pytest
import torch
import torch.nn.functional as F

from rtseg.deploy.class_map import class_map


@pytest.mark.parametrize("num_classes", [1, 2, 7, 8, 9, 150, 256, 300])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 96)])
def test_equals_interpolate_and_argmax(num_classes: int, size: tuple[int, int]) -> None:
    logits = torch.randn(2, num_classes, 8, 12)
    expected = F.interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)
    found = class_map(logits, size)
    assert found.dtype == (torch.uint8 if num_classes <= 256 else torch.int16)
    assert torch.equal(found.long(), expected)


def test_of_equal_classes_the_lower_wins() -> None:
    logits = torch.zeros(1, 40, 3, 3)
    logits[:, [5, 21, 39]] = 1  # in three chunks
    assert class_map(logits, (20, 20)).unique().tolist() == [5]


def test_memory_format_and_precision_do_not_change_it() -> None:
    logits = torch.randn(1, 20, 9, 9).bfloat16()
    expected = F.interpolate(logits.float(), size=(70, 70), mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(class_map(logits.contiguous(memory_format=torch.channels_last), (70, 70)).long(), expected)
