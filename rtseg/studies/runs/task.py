"""What studies train: each kind of network has a `rtseg ... fit` of its own, with scores of its own.

Nothing heavy is imported here: commands look at paths first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg.configs import CONFIGS

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Task:
    """A kind of training, and the networks that it trains.

    Attributes:
        words: of its command, behind `rtseg`.
        configs: folder of its configurations.
        config: the one that a comparison trains by, unless another is given.
        model: the network of a comparison, unless another is given.
        size: (height, width) of the images that costs are counted for, unless another is given.
        images: that attention at a place of the network sees of one sample.
        scores: name of a score -> column of metrics.csv that it is read from.
        shown: the scores that tables show -> their headings.
        paper: heading of the first paper's scores.
        tables: those of the first paper that are about such networks.
        example: a row of such a comparison, as it is typed.
        keys: those of `name` and `attention` that its `model` has.
        flags: that each training of a study has.
        check_data: looks for the data that the settings of `data` name. Raises: UserError where there are none.
        create: a network of a name, with an insertion and options.
    """

    words: tuple[str, ...]
    configs: Path
    config: str
    model: str
    size: tuple[int, int]
    images: int
    scores: Mapping[str, str]
    shown: Mapping[str, str]
    paper: str
    tables: tuple[str, ...]
    example: str
    keys: tuple[str, ...]
    flags: tuple[str, ...]
    check_data: Callable[[Mapping[str, Any]], None]
    create: "Callable[[str, Mapping[str, Any] | None, Mapping[str, Any]], nn.Module]"

    @property
    def fit(self) -> str:
        """The command of a training, as it is typed."""
        return " ".join(("rtseg", *self.words))

    @property
    def compare(self) -> str:
        """The command of a comparison, as it is typed."""
        return " ".join(("rtseg", *self.words[:-1], "compare"))


def _check_images(data: Mapping[str, Any]) -> None:
    from rtseg.data.dataset import create_dataset

    for split in ("train", "val"):
        create_dataset(data["dataset"], data["root"], split, data.get("channels"))


def _create_segmenter(model: str, insert: Mapping[str, Any] | None, options: Mapping[str, Any]) -> "nn.Module":
    from rtseg.models import create_model

    return create_model(model, 19, insert=insert, **options)


def _check_things(data: Mapping[str, Any]) -> None:
    from rtseg.tasks.instances.datamodule import InstanceData

    # A file in the place of the values leaves its path among them.
    found = InstanceData(**{key: value for key, value in data.items() if not key.startswith("__")})
    for split in ("train", "val"):
        found.split(split)


def _create_detector(model: str, insert: Mapping[str, Any] | None, options: Mapping[str, Any]) -> "nn.Module":
    from rtseg.tasks.instances.mask_rcnn import create_network

    return create_network(model, 80, insert=insert, **options).network


def _check_pairs(data: Mapping[str, Any]) -> None:
    from rtseg.tasks.stereo.layouts import find_pairs

    for split in ("train", "val"):
        find_pairs(data["dataset"], Path(data["root"]), split, data["bad"])


def _create_psmnet(model: str, insert: Mapping[str, Any] | None, options: Mapping[str, Any]) -> "nn.Module":
    from rtseg.checks import check_one_of
    from rtseg.tasks.stereo.psmnet import PSMNet

    check_one_of("--model", model, [STEREO.model])
    return PSMNet(insert=insert)


SEGMENTATION = Task(
    words=("fit",),
    configs=CONFIGS,
    config="rtformer_slim_camvid_half",
    model="rtformer_slim",
    size=(512, 512),
    images=1,
    scores={"miou": "val/miou", "accuracy": "val/accuracy"},
    shown={"miou": "mIoU"},
    paper="paper's box / mask AP",
    tables=("table1", "table2", "table3"),
    example="'layer3=fa fpn.*=fa'",
    keys=("name", "attention"),
    flags=("--fps.enabled=false",),  # beside other trainings a speed would mislead
    check_data=_check_images,
    create=_create_segmenter,
)
INSTANCES = Task(
    words=("instances", "fit"),
    configs=CONFIGS / "instances",
    config="mask_rcnn_things",
    model="mask_rcnn_resnet50",
    size=(896, 1280),
    images=1,
    scores={"box_ap": "val/box_ap", "mask_ap": "val/mask_ap"},
    shown={"box_ap": "box AP", "mask_ap": "mask AP"},
    paper="paper's box / mask AP",
    tables=("table1", "table2", "table3", "table4"),
    example="'layer3=fa fpn.*=fa'",
    keys=("name",),
    flags=(),
    check_data=_check_things,
    create=_create_detector,
)
STEREO = Task(
    words=("stereo", "fit"),
    configs=CONFIGS / "stereo",
    config="psmnet_demo",
    model="psmnet",
    size=(544, 960),
    images=2,
    scores={"epe": "val/epe"},
    shown={"epe": "EPE"},
    paper="paper's EPE",
    tables=("table6",),
    example="layer4=fa",
    keys=(),
    flags=(),
    check_data=_check_pairs,
    create=_create_psmnet,
)
TASKS = (SEGMENTATION, INSTANCES, STEREO)
