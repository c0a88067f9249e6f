"""`rtseg instances fit` on two processes, with an odd number of validation images."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from rtseg.data.coco_file import read_coco
from rtseg.scenes import make_data
from rtseg.tasks.instances.cli import InstancesCLI
from rtseg.tasks.instances.datamodule import InstanceData
from rtseg.tasks.instances.module import InstanceModule
from rtseg.tasks.instances.samples import CocoImages
from rtseg.tasks.instances.scores import InstanceScores
from tests.helpers.processes import DDP, check_resumes, check_same_scores, last_scores, validated
from tests.tasks.instances.test_cli import INSERT, TINY
from tests.tasks.instances.test_scores import guess

pytestmark = pytest.mark.slow


def test_two_processes_train_score_and_resume_as_one(tmp_path: Path) -> None:
    data = make_data("coco", 12, tmp_path / "data", n_val=3, size=(64, 80), seed=3)
    flags = (*TINY, *INSERT, f"--data.root={data}", "--model.ema_decay=0.9", "--trainer.max_epochs=2", "--save_every=1")
    words = ("instances", "fit", *flags, *DDP)
    whole = check_resumes(words, tmp_path)
    alone = validated(InstancesCLI, InstanceModule, InstanceData, whole / "last.ckpt", data)
    check_same_scores(last_scores(whole), alone)


def test_average_precision_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    data = make_data("coco", 9, tmp_path / "data", n_val=1, size=(64, 80), seed=3)
    _count(0, 1, data, tmp_path)
    mp.spawn(_count, (2, data, tmp_path), nprocs=2)
    one, *two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("0_of_1", "0_of_2", "1_of_2"))
    assert one["mask_ap"] > 0.1
    for scores in two:
        check_same_scores(scores, one)


def _count(rank: int, processes: int, data: Path, folder: Path) -> None:
    """Scores every image whose number leaves this rank as the rest; what is found has one of three scores, so that many
    are equal.
    """
    if processes > 1:
        store = dist.FileStore(str(folder / "store"), processes)
        dist.init_process_group("gloo", rank=rank, world_size=processes, store=store, timeout=timedelta(seconds=60))
    images = CocoImages(read_coco(data / "annotations/instances_train2017.json", data / "train2017"))
    rng, counted = np.random.default_rng(0), InstanceScores()
    for place in range(len(images)):
        found = guess(images[place], rng, many=False)
        if place % processes == rank:
            counted.update(found._replace(scores=(3 * found.scores).ceil() / 3), images[place].objects)
    (folder / f"{rank}_of_{processes}.json").write_text(json.dumps(counted.compute(images.coco.names)))
    if processes > 1:
        dist.destroy_process_group()
