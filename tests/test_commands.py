"""Each command of README and docs names programs, commands, flags, targets and files that exist.

test_commands_run.py runs them.
"""

import dataclasses
import inspect
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

import lightning as L
import pytest
import typer

import pretrain.commands
import rtseg.cli
from pretrain.cli import PretrainCLI
from pretrain.datamodule import ImageNetData
from pretrain.module import ClassificationModule
from rtseg.commands.instances import app as instances_app
from rtseg.commands.stereo import app as stereo_app
from rtseg.configs import CONFIGS, find_config
from rtseg.errors import UserError
from rtseg.tasks.instances.cli import InstancesCLI
from rtseg.tasks.instances.datamodule import InstanceData
from rtseg.tasks.instances.module import InstanceModule
from rtseg.tasks.stereo.cli import StereoCLI
from rtseg.tasks.stereo.data import StereoData
from rtseg.tasks.stereo.module import StereoModule
from rtseg.training.callbacks.fps_monitor import FPSMonitor
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from tests.helpers.documented import ROOT, Command, commands

TRAINING = ("fit", "validate", "test")


class Program(NamedTuple):
    """One of our programs: its commands, whose parameters are keys of its configurations, and where those lie."""

    app: typer.Typer
    classes: dict[str, Any]
    configs: Path


RTSEG = Program(
    rtseg.cli.app,
    {"model": SegmentationModule, "data": SegmentationData, "fps": FPSMonitor, "trainer": L.Trainer},
    CONFIGS,
)
PRETRAIN = Program(
    pretrain.commands.app,
    {"model": ClassificationModule, "data": ImageNetData, "trainer": L.Trainer},
    PretrainCLI.configs,
)
# Commands of `rtseg` that have commands of their own.
TASKS = {
    "instances": Program(
        instances_app, {"model": InstanceModule, "data": InstanceData, "trainer": L.Trainer}, InstancesCLI.configs
    ),
    "stereo": Program(stereo_app, {"model": StereoModule, "data": StereoData, "trainer": L.Trainer}, StereoCLI.configs),
}
# LightningCLI's flags and ours, beside the parameters of these classes.
OWN_FLAGS = {"config", "output", "ckpt_path", "save_every", "seed_everything", "plugin", "auto", "help", "help-all"}
OWN_FLAGS |= {"protocol", "boundary", "scores", "o", "picture"}  # of `validate` and `test`
SHELL = {"source", "alias", "cd", "git", "pip", "pre-commit", "ffmpeg", "curl", "docker"}
PLACEHOLDER = re.compile(r"[A-Z_]+$|.*(\.\.\.|<.*>|\$)")  # what the reader puts something in for


@cache
def flags_of(app: typer.Typer) -> dict[str, set[str]]:
    """The flags of each command."""
    group: Any = typer.main.get_command(app)
    return {
        name: {"--plugin", "--help", *(flag for option in command.params for flag in option.opts)}
        for name, command in group.commands.items()
    }


def unknown_key(flag: str, classes: dict[str, Any]) -> str:
    """The part of a flag such as `model.optim.lr` that does not exist; empty where all do."""
    first, *rest = flag.split(".")
    if not rest:
        return "" if flag in OWN_FLAGS else flag
    if first not in classes:
        return first
    taker: Any = classes[first]
    for part in rest:
        parameters = inspect.signature(taker).parameters
        if part not in parameters:
            return part
        kind = parameters[part].annotation
        groups = [group for group in (kind, *get_args(kind)) if dataclasses.is_dataclass(group)]
        if not groups:
            return ""  # a value, or a mapping with names of its own
        taker = groups[0]
    return ""


def wrong_in(program: Program, words: Sequence[str]) -> str:
    """What is wrong with the words behind a program of ours; empty where nothing is."""
    if not words or words[0].startswith("-") or PLACEHOLDER.match(words[0]):
        return ""
    command, *rest = words
    if command in TASKS and program is RTSEG:
        return wrong_in(TASKS[command], rest)
    known = flags_of(program.app)
    if command not in known:
        return f"there is no command '{command}'"
    for flag in (word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)):
        if command in TRAINING or flag.startswith("--trainer."):
            if part := unknown_key(flag.lstrip("-").removesuffix("+"), program.classes):
                return f"'{part}' of {flag} does not exist"
        elif flag not in known[command]:
            return f"{command} does not take {flag}"
    return wrong_config(rest, program.configs)


def wrong_config(words: Sequence[str], configs: Path) -> str:
    """What is wrong with `--config`; files that a reader writes or a training wrote are left out."""
    values = [value for word, value in pairwise(words) if word == "--config"]
    values += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    for value in values:
        if not PLACEHOLDER.match(value) and not value.startswith(("runs/", "RUN/")):
            try:
                find_config(value, configs)
            except UserError as error:
                return str(error)
    return ""


def is_there(file: str, page: str) -> bool:
    """Whether a program is in the repository, or is a code block of the page that the reader saves under this name."""
    text = (ROOT / page).read_text() if (ROOT / page).is_file() else ""
    return (ROOT / file).exists() or f"```python\n# {file}\n" in text


def wrong(command: Command) -> str:
    """What is wrong with a command; empty where nothing is."""
    program, *rest = command.words
    program = Path(program).name
    if program == "rtseg":
        return wrong_in(RTSEG, rest)
    if program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M)
        missing = [word for word in rest if re.match("[a-z]", word) and word not in targets]
        return f"there is no target {missing}" if missing else ""
    if program.startswith("python"):
        if rest[:2] == ["-m", "pretrain"]:
            return wrong_in(PRETRAIN, rest[2:])
        there = find_spec(rest[1]) is not None if rest[0] == "-m" else is_there(rest[0], command.page)
        return "" if there else f"there is no '{rest[1] if rest[0] == '-m' else rest[0]}'"
    if program == "pytest":
        missing = [word for word in rest if word.startswith("tests") and not (ROOT / word).exists()]
        return f"there is no {missing}" if missing else ""
    return "" if program in SHELL or PLACEHOLDER.match(program) else f"unknown program '{program}'"


@pytest.mark.parametrize("page", sorted({command.page for command in commands()}))
def test_documented_commands_exist(page: str) -> None:
    found = {str(command): says for command in commands() if command.page == page and (says := wrong(command))}
    assert found == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("rtseg predikt x", "no command 'predikt'"),
        ("rtseg predict x y --colour red", "--colour"),
        ("rtseg fit --model.optim.rate=1", "'rate' of --model.optim.rate"),
        ("rtseg fit --data.batchsize=1", "batchsize"),
        ("rtseg instances fit --data.crop_size=1", "crop_size"),
        ("rtseg instances fit --config rtformer_slim_camvid", "a configuration of `rtseg fit`"),
        ("rtseg fit --config rtformer_slim_camvod", "rtformer_slim_camvid"),
        ("rtseg compare --trainer.precison=1", "precison"),
        ("rtseg stereo fit --model.insertion=1", "insertion"),
        ("rtseg stereo predict a b c --colour", "--colour"),
        ("python -m pretrain fit --data.distort=true", "distort"),
        ("make trian-camvid", "trian-camvid"),
        ("python benchmarks/nothing.py", "nothing"),
        ("pytest tests/nothing", "tests/nothing"),
    ],
)
def test_wrong_commands_are_seen(line: str, says: str) -> None:
    assert says in wrong(Command("a page", tuple(line.split())))
