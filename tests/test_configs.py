"""Shipped configurations are found by name from any folder."""

from pathlib import Path

import pytest

from pretrain.cli import PretrainCLI
from rtseg.cli import main
from rtseg.configs import COMMANDS, CONFIGS, find_config, list_configs, with_found_configs
from rtseg.errors import UserError
from tests.helpers.command import check_refused, exit_status

CAMVID = CONFIGS / "rtformer_slim_camvid.yaml"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name", ["rtformer_slim_camvid", "rtformer_slim_camvid.yaml", "configs/rtformer_slim_camvid.yaml"]
)
def test_a_shipped_one_is_found_by_its_name(name: str) -> None:
    assert find_config(name) == find_config(Path(name)) == CAMVID
    assert with_found_configs(["fit", "--config", name, f"--config={name}", "--fps.seconds=1"]) == [
        *("fit", "--config", str(CAMVID), f"--config={CAMVID}", "--fps.seconds=1")
    ]


def test_a_path_that_exists_wins() -> None:
    own = Path("rtformer_slim_camvid.yaml")
    own.touch()
    assert find_config(own) == own
    own.unlink()
    Path("rtformer_slim_camvid").mkdir()  # a run folder of that name
    assert find_config("rtformer_slim_camvid") == CAMVID
    Path("other").mkdir()
    assert find_config("other") == Path("other")  # the command says that it is a folder


def test_those_of_pretraining_are_found_by_it_alone() -> None:
    for name in ("rtformer_slim_in1k", "pretrain/configs/rtformer_slim_in1k.yaml"):
        assert find_config(name, PretrainCLI.configs).is_file()
    with pytest.raises(UserError):
        find_config("rtformer_slim_in1k")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rtformer_slim_camvit", "Did you mean rtformer_slim_camvid or "),
        ("configs/rtformer_slim_camvit.yaml", "Did you mean rtformer_slim_camvid or "),
        ("there/rtformer_slim_camvid.yaml", "there is no file 'there/rtformer_slim_camvid.yaml'"),
        ("mine.yml", "Did you mean mine.yaml?"),
        ("x" * 5000, " more; `rtseg list configs` lists all."),
    ],
)
def test_a_wrong_name_is_refused_with_those_near_it(name: str, says: str) -> None:
    Path("mine.yaml").touch()
    with pytest.raises(UserError, match=r"^--config: there is no file") as refused:
        find_config(name)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("own", "name", "command"),
    [
        ("rtseg fit", "psmnet_demo", "rtseg stereo fit"),
        ("rtseg fit", "stereo/psmnet_demo.yaml", "rtseg stereo fit"),
        ("rtseg stereo fit", "mask_rcnn_things", "rtseg instances fit"),
        ("rtseg instances fit", "rtformer_slim_demo", "rtseg fit"),
    ],
)
def test_one_of_another_command_names_it(own: str, name: str, command: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'; {Path(name).stem} is a configuration of `{command}`"):
        find_config(name, COMMANDS[own])
    with pytest.raises(UserError, match=f"is a configuration of `{command.replace('fit', 'compare')}`"):
        find_config(name, COMMANDS[own], verb="compare")


def test_a_flag_has_a_short_and_a_long_form() -> None:
    file = str(CONFIGS / "rtformer_slim_demo.yaml")
    for args in (["-c", "rtformer_slim_demo"], ["--config", "rtformer_slim_demo"]):
        assert with_found_configs(args) == [args[0], file]
    for args in (["-c=rtformer_slim_demo"], ["--config=rtformer_slim_demo"]):
        assert with_found_configs(args) == [f"--config={file}"]


def test_settings_in_place_of_a_file_stay() -> None:
    args = ["fit", "--config", "trainer: {max_steps: 9}", "--config=seed_everything: 1", "--config"]
    assert with_found_configs(args) == args


def test_they_are_listed_with_their_headers(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_configs().keys() == {file.stem for file in CONFIGS.glob("*.yaml")}
    assert exit_status(main, "list", "configs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "rtformer_slim_ade20k       RTFormer-Slim on ADE20K by the authors' recipe." in lines
    heads = [lines.index(f"{command} --config") for command in COMMANDS]
    assert heads == sorted(heads)
    assert heads[1] < next(k for k, line in enumerate(lines) if line.startswith("psmnet_demo ")) < heads[2]
    assert lines[-1].startswith("mask_rcnn_things ")
    assert all(len(text) > 30 and text.endswith(".") for text in list_configs().values())


@pytest.mark.parametrize("command", [("fit",), ("validate",), ("test",), ("compare", "--data=.", "--epochs=1")])
def test_every_command_that_takes_one_takes_a_name(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong one is refused by all in the same words; a right one leads on to the data, which are not here."""
    check_refused(exit_status(main, *command, "--config=rtformer_slim_demi"), "Did you mean rtformer_slim_demo", capsys)
