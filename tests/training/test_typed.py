"""What is read of a command line and its configuration files without the parser."""

from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.training.help import PAGES
from rtseg.training.typed import Configs, check_words

KNOWN = (
    "--auto --config a.yaml -c b.yaml --help --trainer.callbacks+=X --data.crop_size 64 96 --trainer.max_steps -1",
    "--data.anything=3 --optimizer=Adam --print_config --verbose false --strange=1",  # the parser knows, or names it
)


@pytest.mark.parametrize("words", KNOWN)
def test_what_may_be_right_is_left_to_the_parser(words: str) -> None:
    check_words(words.split(), PAGES["fit"])


@pytest.mark.parametrize("words", ["a.yaml", "--auto a.yaml", "--trainer.max_steps=3 a.yaml"])
def test_a_word_without_a_flag(words: str) -> None:
    with pytest.raises(UserError, match=r"'a\.yaml' belongs to no flag: give a configuration as --config NAME"):
        check_words(words.split(), PAGES["fit"])


def test_the_last_configuration_that_has_a_setting_counts(tmp_path: Path) -> None:
    texts = {
        "first.yaml": "{output: runs/a, data: part.yaml, trainer: {max_steps: 3}}",
        "part.yaml": "{root: data/a, dataset: camvid}",
        "second.yaml": "{data: {dataset: ade20k}, trainer.max_epochs: 4}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    configs = Configs(["--config", f"{tmp_path}/first.yaml", f"--config={tmp_path}/second.yaml"])
    keys = ("data.root", "data.dataset", "trainer.max_steps", "trainer.max_epochs", "output", "model.name", "ckpt_path")
    assert [configs.get(key) for key in keys] == ["data/a", "ade20k", 3, 4, "runs/a", None, None]
    assert Configs(["--config", "data: {root: x}"]).get("data.root") is None
