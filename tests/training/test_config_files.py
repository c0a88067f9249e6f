"""Configurations are held to the bounds of `rtseg.yaml_file`, and what they name too."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.training.cli import main

LAUGHS = "a: &a [1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: {name: ddrnet_23}\nmodel: {}\n", "line 2: 'model' stands here again, after line 1"),
        (b"data: part.yaml\n", "line 1: more than 50 levels"),
        pytest.param(LAUGHS.encode(), "more than 20,000 values, aliases written out", marks=pytest.mark.slow),
        pytest.param(b"output: \xe4\n", "a configuration is not UTF-8 text", marks=pytest.mark.slow),
        pytest.param(b"output: !!python/object/apply:os._exit [9]\n", "could not determine", marks=pytest.mark.slow),
    ],
)
def test_a_hostile_configuration_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "part.yaml").write_text("root: " + "[" * 5000)
    (tmp_path / "own.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        main(["fit", f"--config={tmp_path / 'own.yaml'}"])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for arguments in (["--config", str(tmp_path / "pipe.yaml")], [f"--config={tmp_path}"]):
        with pytest.raises(UserError, match="is a folder, pipe or device"):
            main(["fit", *arguments])


def test_settings_in_place_of_a_file_do_not_name_the_run(
    tmp_path: Path, tiny_camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = f"data: {{dataset: camvid, root: {tiny_camvid}, batch_size: 100}}"
    with pytest.raises(UserError, match="more than the"):
        main(["fit", "--config", settings, "--model.options.base_channels=8", "--trainer.accelerator=cpu"])
    assert [run.name for run in Path("runs").iterdir()] == ["rtformer_slim_camvid"]
