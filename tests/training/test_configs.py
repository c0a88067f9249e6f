"""The configurations that are shipped: each builds what it says, and a training starts from it."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from rtseg.cli import main
from rtseg.scenes import make_data
from rtseg.training.cli import RTSegCLI
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from tests.helpers.command import check_refused, exit_status

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
# Begin of a file's name -> the model, where that is not its name.
OF_TIMM = {"resnet18_fpn": "timm:resnet18", "resnet50_fpn": "timm:resnet50"}
NARROW: dict[str, dict[str, str | int]] = {
    "rtformer": {"model.options.base_channels": 8},
    "resnet18": {
        "model.name": "timm:test_resnet", "model.options.fpn_channels": 8, "model.options.head_channels": 8,
    },
}  # fmt: skip


@every_config
def test_every_config_builds(config: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rtseg"])  # LightningCLI warns of arguments there beside `args`
    own = [f"--data.root={own_folder}"] if "folder" in config.stem else []
    cli = RTSegCLI(
        SegmentationModule,
        SegmentationData,
        args=["--config", str(config), *own],
        run=False,
        trainer_defaults={"logger": False},
    )
    family, size, dataset, *_ = config.stem.split("_")
    assert cli.model.segmenter.card.model == OF_TIMM.get(f"{family}_{size}", f"{family}_{size}")
    assert cli.datamodule.dataset == dataset or dataset == "demo"
    assert cli.model.segmenter.card.num_classes == cli.datamodule.num_classes
    assert cli.model.optim.lr_batch_size == cli.datamodule.batch_size or dataset == "folder"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Layout -> two training images and one of validation, 64x64, drawn once."""
    folder = tmp_path_factory.mktemp("drawn")
    return cache(lambda layout: make_data(layout, 2, folder / layout, n_val=1, size=(64, 64)))


@pytest.fixture(scope="module")
def own_folder(drawn: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes as a user's own folder."""
    root = tmp_path_factory.mktemp("own")
    parts = (f"{split}: {{images: {split}, masks: {split}annot}}" for split in ("train", "val"))
    names = ", ".join(f"class {k}" for k in range(11))
    (root / "dataset.yaml").write_text("\n".join([f"classes: [{names}]", "ignore: [11]", *parts]))
    for folder in ("train", "trainannot", "val", "valannot"):
        (root / folder).symlink_to(drawn("camvid") / folder)
    return root


def is_quick(config: Path) -> bool:
    """Whether a training of it takes seconds, and no other is of its network and data; base networks are like slim."""
    twin = "_base_" in config.stem or config.stem == "rtformer_slim_camvid_half"
    return config.stem.split("_")[0] in NARROW and not twin


@pytest.mark.parametrize(
    "config",
    [pytest.param(path, marks=[] if is_quick(path) else [pytest.mark.slow], id=path.stem) for path in CONFIGS],
)
def test_a_training_starts_from_every_config(
    config: Path, drawn: Callable[[str], Path], own_folder: Path, tmp_path: Path
) -> None:
    """One step with all callbacks, the FPS monitor's timing too. Smaller than shipped are network, batch and crop."""
    family, _, dataset, *_ = config.stem.split("_")
    flags = {
        "data.root": own_folder if dataset == "folder" else drawn("camvid" if dataset == "demo" else dataset),
        "data.batch_size": 2, "data.crop_size": "[64,64]", "data.num_workers": 0,
        **NARROW.get(family, {}), "fps.seconds": 0.01, "output": tmp_path / "run",
        "trainer.max_steps": 1, "trainer.num_sanity_val_steps": 0, "trainer.accelerator": "cpu",
    }  # fmt: skip
    assert exit_status(main, "fit", "--config", str(config), *(f"--{key}={value}" for key, value in flags.items())) == 0
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    assert not isinstance(saved["hyper_parameters"]["loss"]["class_weights"], dict)  # in the order of the classes
    assert (tmp_path / "run" / "speed.json").is_file()


def test_a_recipes_weights_are_its_data_sets(
    own_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Own classes, as many as CamVid's, are not trained with CamVid's weights."""
    config = next(config for config in CONFIGS if config.stem == "rtformer_slim_camvid")
    flags = [f"--data.root={own_folder}", "--data.batch_size=2", f"--output={tmp_path / 'run'}"]
    tiny = ["--model.options.base_channels=8", "--trainer.accelerator=cpu"]
    status = exit_status(main, "fit", f"--config={config}", "--data.dataset=folder", *flags, *tiny)
    check_refused(status, "it names 'sky', 'building', 'pole', 'road', 'pavement' and 6 more and it lacks", capsys)
