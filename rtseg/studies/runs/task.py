"""What studies train: each kind of network has a `rtseg ... fit` of its own, with scores of its own.

Nothing heavy is imported here: commands look at paths first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A kind of training.

    Attributes:
        words: of its command, behind `rtseg`.
        scores: name of a score -> column of metrics.csv that it is read from.
        shown: the scores that tables show -> their headings.
        keys: those of `name` and `attention` that its `model` has.
        flags: that each training of a study has.
        check_data: looks for the data that the settings of `data` name. Raises: UserError where there are none.
    """

    words: tuple[str, ...]
    scores: Mapping[str, str]
    shown: Mapping[str, str]
    keys: tuple[str, ...]
    flags: tuple[str, ...]
    check_data: Callable[[Mapping[str, Any]], None]

    @property
    def fit(self) -> str:
        """The command as it is typed."""
        return " ".join(("rtseg", *self.words))


def _check_segmentation(data: Mapping[str, Any]) -> None:
    from rtseg.data.dataset import create_dataset

    for split in ("train", "val"):
        create_dataset(data["dataset"], data["root"], split)


SEGMENTATION = Task(
    words=("fit",),
    scores={"miou": "val/miou", "accuracy": "val/accuracy"},
    shown={"miou": "mIoU"},
    keys=("name", "attention"),
    flags=("--fps.enabled=false",),  # beside other trainings a speed would mislead
    check_data=_check_segmentation,
)
