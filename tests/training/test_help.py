"""The help of `fit`, `validate` and `test`: true, and narrow enough for a terminal."""

from typing import Any

import pytest
import yaml

import pretrain.commands
import pretrain.help
import rtseg.cli
import rtseg.tasks.stereo.help
from rtseg.training.help import PAGES, Page
from rtseg.training.typed import check_words

NO_KEYS = ("config", "auto", "protocol", "boundary", "scores", "picture")  # no default to compare, or no key of `fit`


def defaults(main: Any, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the parser says: every key of `fit` with its default."""
    with pytest.raises(SystemExit):
        main(["fit", "--print_config"])

    def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            found[prefix + key] = value
            if isinstance(value, dict):
                found |= flat(value, f"{prefix}{key}.")
        return found

    return flat(yaml.safe_load(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("main", "pages"),
    [
        (rtseg.cli.main, PAGES),
        (pretrain.commands.main, pretrain.help.PAGES),
        (lambda args: rtseg.cli.main(["stereo", *args]), rtseg.tasks.stereo.help.PAGES),
    ],
    ids=["rtseg", "pretrain", "stereo"],
)
def test_the_help_is_true(main: Any, pages: dict[str, Page], capsys: pytest.CaptureFixture[str]) -> None:
    known = defaults(main, capsys)
    check_words([f"--{key}={value}" for key, value in known.items()], pages["fit"])
    for page in pages.values():
        for setting in page.settings:
            if setting.key not in NO_KEYS:
                assert setting.key in known, f"{setting.key} is no key of {page.command}"
            if setting.default is not None:
                assert setting.default == known[setting.key], setting.key
            elif setting.key not in NO_KEYS:
                assert known[setting.key] is None, f"{setting.key} has a default to show"
        assert max(map(len, str(page).splitlines())) <= 80


def test_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for command in PAGES:
        with pytest.raises(SystemExit) as end:
            rtseg.cli.main([command, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out == f"{PAGES[command]}\n"
    assert "--model.loss.class_weights" in str(PAGES["fit"])


def test_every_key_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        rtseg.cli.main(["fit", "--help-all"])
    assert end.value.code == 0
    assert "--model.optim.betas" in capsys.readouterr().out
