"""The plug-ins of docs/plugins.md through the commands: trained, resumed, used, and missed where they are not given."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.plugins import ROOT, commands, write_plugins

TINY = [
    "--model.options.base_channels=8", "--model.options.head_channels=8", "--model.options.spp_channels=8",
    "--model.optim.warmup_steps=1", "--data.batch_size=4", "--data.crop_size=[32,48]", "--data.num_workers=0",
    "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0", "--fps.enabled=false",
]  # fmt: skip
SIZE = ["--input-size", "32", "48"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugins(folder)
    return folder


@pytest.fixture(scope="module")
def data(tiny_camvid: Path) -> list[str]:
    """Flags of a training on camvid."""
    return [*TINY, "--data.dataset=camvid", f"--data.root={tiny_camvid}"]


@pytest.fixture(scope="module")
def roads(folder: Path) -> list[str]:
    """Flags of a training on the data set of my_dataset.py."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, high in ((split, 255), (f"{split}_labels", 2)):
            (folder / "roads" / kind).mkdir(parents=True)
            for k in range(4):
                shape = (32, 48) if "labels" in kind else (32, 48, 3)
                cv2.imwrite(str(folder / "roads" / kind / f"{k}.png"), rng.integers(0, high, shape, dtype=np.uint8))
    return [*TINY, "--data.dataset=my_roads", "--data.root=roads"]


@pytest.fixture(scope="module")
def trained(folder: Path, data: list[str], roads: list[str], tiny_camvid: Path) -> Path:
    """A checkpoint with the attention of my_attention.py, of two steps and one more after a pause; used by commands."""
    image = next((tiny_camvid / "val").glob("*"))
    fit = ["fit", *data, "--model.attention=mean+ca"]
    done = commands(
        folder,
        [*fit, "--trainer.max_steps=2", "--output=run", "--plugin", str(folder / "my_attention.py")],
        [*fit, "--trainer.max_steps=3", "--output=more", "--ckpt_path=run/last.ckpt"],
        ["predict", "more/last.ckpt", str(image), "-o", "predicted", "--device", "cpu"],
        ["fit", *roads, "--plugin=my_dataset.py", "--trainer.max_steps=1", "--output=roads_run"],
        ["predict", "roads_run/last.ckpt", "roads/val", "-o", "roads_predicted", "--device", "cpu"],
        ["list", "attentions"],
    )
    for status, said in done:
        assert status == 0, said
    assert "mean" in done[-1][1].split()
    assert (folder / "predicted" / f"{image.stem}.png").exists()
    return folder / "more" / "last.ckpt"


def card(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)["model_card"]


def test_the_card_names_the_file_and_no_path_of_this_machine(folder: Path, trained: Path) -> None:
    for checkpoint in (folder / "run" / "last.ckpt", trained):
        assert card(checkpoint)["plugins"] == ["my_attention.py"]


def test_without_it_the_checkpoint_says_which(
    folder: Path, trained: Path, data: list[str], roads: list[str], tiny_camvid: Path
) -> None:
    """By every road. Nothing is loaded because a checkpoint names it."""
    image = next((tiny_camvid / "val").glob("*"))
    *lost, scored = commands(
        folder,
        ["predict", str(trained), str(image), "-o", "not_predicted"],
        ["export", str(trained), "-o", "not.onnx"],
        ["benchmark", str(trained), *SIZE, "--device", "cpu", "--backend", "eager"],
        ["validate", *data, f"--ckpt_path={trained}"],
        ["fit", *data, f"--ckpt_path={trained}", "--output=other"],
        ["fit", *data, f"--model.weights={trained}", "--output=other"],
        ["visualize", str(trained), str(image)],
        ["validate", *roads, "--ckpt_path=roads_run/last.ckpt"],
    )
    for status, said in lost:
        assert status == 2, said
        assert "unknown attention 'mean': it needs the plug-in my_attention.py, which is not loaded; " in said
        assert "add --plugin my_attention.py to the command (in Python, first: rtseg.load_plugin(" in said
        assert "Did you mean" not in said
    assert scored[0] == 2
    assert "unknown data set 'my_roads'" in scored[1]


@pytest.mark.slow
def test_what_was_exported_needs_none(folder: Path, trained: Path) -> None:
    ((exported, said),) = commands(
        folder, ["export", str(trained), "--plugin", "my_attention.py", "-o", "net.onnx", *SIZE]
    )
    assert exported == 0, said
    ((timed, said),) = commands(
        folder, ["benchmark", "net.onnx", *SIZE, "--device=cpu", "--backend=onnxruntime", "--seconds=0.01"]
    )
    assert timed == 0, said


def test_the_pages_trainings_begin(folder: Path) -> None:
    """Up to the data, which are not there."""
    page = (ROOT / "docs" / "plugins.md").read_text()
    lines = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("rtseg fit --plugin")]
    lines = [line for line in lines if not any("$RUN" in word for word in line)]
    assert len(lines) == 4
    configs = [[str(ROOT / word) if word.startswith("configs/") else word for word in line] for line in lines]
    (folder / "empty").mkdir()
    begun = ([*line, "--data.root=empty", f"--output=begun_{k}"] for k, line in enumerate(configs))
    for status, said in commands(folder, *begun):
        assert status == 2
        assert "no CamVid data in empty" in said or "the folder of my_roads as --data.root" in said


@pytest.mark.slow
def test_a_backbone_of_its_own_file_goes_the_whole_way(folder: Path, data: list[str], tiny_camvid: Path) -> None:
    """Trained, resumed, scored, exported, timed, used; also under a head of the library's. Its checkpoint names it."""
    image, options = next((tiny_camvid / "val").glob("*")), [flag for flag in data if "spp_channels" not in flag]
    own = ["--plugin=my_backbone.py"]

    def again(run: str) -> list[str]:
        return ["fit", *own, "--config", f"{run}/config.yaml", "--ckpt_path", f"{run}/last.ckpt"]

    fit = ["fit", *own, *options, "--model.name=my_stages", "--model.loss.weights={boundary: 10}"]
    *done, listed, losses, unknown = commands(
        folder,
        [*fit, "--trainer.max_steps=2", "--output=stages"],
        [*again("stages"), "--trainer.max_steps=3", "--output=more_stages"],
        ["validate", *again("more_stages")[1:]],
        ["predict", "more_stages/last.ckpt", str(image), "-o", "stages_predicted", "--device", "cpu"],
        ["export", "more_stages/last.ckpt", "-o", "stages.onnx", *SIZE],
        ["benchmark", "more_stages/last.ckpt", *SIZE, "--device=cpu", "--backend=onnxruntime", "--seconds=0.01"],
        [*fit, "--model.head=conv", "--trainer.max_steps=1", "--output=conv"],
        ["list", "heads"],
        ["list", "losses"],
        [*fit, "--model.loss.weights={bondary: 10}", "--output=other"],
    )
    for status, said in done:
        assert status == 0, said
    assert "my_sum" in listed[1].split()
    assert "my_boundary" in losses[1].split()
    assert unknown[0] == 2
    assert "the model has no output 'bondary'. Did you mean 'boundary'? Known: aux, boundary, main." in unknown[1]
    assert (folder / "stages_predicted" / f"{image.stem}.png").exists()
    found = {run: card(folder / run / "last.ckpt") for run in ("more_stages", "conv")}
    assert [(card["head"], card["plugins"]) for card in found.values()] == [
        ("my_sum", ["my_backbone.py"]),
        ("conv", ["my_backbone.py"]),
    ]
    lost, headless = commands(
        folder,
        ["predict", "more_stages/last.ckpt", str(image), "-o", "not_predicted"],
        [*fit, "--model.head=conv", "--ckpt_path=stages/last.ckpt", "--output=other"],
    )
    assert "unknown model 'my_stages'" in lost[1]
    assert "add --plugin my_backbone.py" in lost[1]
    assert headless[0] == 2
    assert "model.head=conv differs from the checkpoint's my_sum" in headless[1]
    assert "set --model.head=my_sum" in headless[1]


def test_a_data_set_is_no_part_of_the_network(folder: Path, trained: Path) -> None:
    described = card(folder / "roads_run" / "last.ckpt")
    assert (described["dataset"], described["plugins"]) == ("my_roads", [])


@pytest.mark.slow
def test_other_processes_have_it_too(folder: Path, data: list[str]) -> None:
    """The ranks of a training; the process in which memory is measured."""
    processes = ["--trainer.devices=2", "--trainer.strategy=ddp", "--plugin", "./my_attention.py"]
    trained, timed = (
        subprocess.run(
            [sys.executable, "-m", "rtseg", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        for command in (
            ["fit", *data, "--model.attention=mean+ca", *processes, "--trainer.max_steps=1", "--output=two"],
            ["benchmark", "two/last.ckpt", *SIZE, "--backend=eager", "--seconds=0.01", "--memory", *processes[2:]],
        )
    )
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert card(folder / "two" / "last.ckpt")["plugins"] == ["my_attention.py"]
    assert timed.returncode == 0, timed.stderr[-3000:]
    if sys.platform == "linux":
        (row,) = json.loads(timed.stdout.splitlines()[-1])["networks"]
        assert row["peak_memory_bytes"] > 0
