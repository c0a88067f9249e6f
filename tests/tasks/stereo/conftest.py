"""Drawn pairs for trainings of seconds, and the flags of one."""

from pathlib import Path

import pytest

from rtseg.scenes import make_data


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training pairs and two validation pairs of 64x96, in Scene Flow's layout."""
    return make_data("sceneflow", 6, tmp_path_factory.mktemp("pairs") / "data", n_val=2, size=(64, 96))


@pytest.fixture(scope="session")
def fit(pairs: Path) -> list[str]:
    """A training of two epochs with three steps each."""
    return [
        "stereo", "fit", f"--data.root={pairs}", "--model.max_disparity=16", "--data.batch_size=2",
        "--data.crop_size=[32,48]", "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false",
        "--model.insert.layer4=fa:basis=16:heads=1",
    ]  # fmt: skip
