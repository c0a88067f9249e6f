"""Trainings in processes of their own; whole studies of them are in tests/studies/compare."""

from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.models.weights import read_weights
from rtseg.output.lock import locked_folder
from rtseg.studies.runs.metrics_log import read_log
from rtseg.studies.runs.recipe import Recipe
from rtseg.studies.runs.runner import check_start, explain, train
from rtseg.studies.runs.training import trainings
from rtseg.studies.runs.variant import Variant
from rtseg.terminal import Console
from tests.helpers.compare import CONFIG, TINY


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(CONFIG)
    return file


def test_equal_reasons_are_said_once(tmp_path: Path) -> None:
    first, second, third = trainings([Variant("sa"), Variant("ea"), Variant("gfa")], [0], tmp_path)
    assert explain({first: "ended: no memory", second: "ended: bad key", third: "ended: no memory"}) == [
        f"2 trainings (sa, seed 0; gfa, seed 0) each ended: no memory (all of it: {first.folder / 'train.log'})",
        f"the training of ea, seed 0, ended: bad key (all of it: {second.folder / 'train.log'})",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"miou": 0.5', "Expecting ',' delimiter"),
        ("", "Expecting value"),
        ("[0.5]", "list indices must be"),
        ("null", "is not subscriptable"),
        ('{"miou": 0.5}', "no score 'accuracy'"),
        ('{"miou": "half", "accuracy": 1}', "could not convert"),
        ('{"miou": NaN, "accuracy": 1}', "a score is not finite"),
    ],
)
def test_damaged_scores_are_said_before_a_training(
    text: str, what: str, tiny_camvid: Path, config: Path, tmp_path: Path
) -> None:
    (wanted,) = trainings([Variant("sa")], [0], tmp_path)
    wanted.folder.mkdir()
    (wanted.folder / "finished.json").write_text(text)
    with pytest.raises(UserError, match=r"^'.*finished\.json' is damaged \(.*\): remove it, ") as error:
        check_start([wanted], Recipe("rtformer_slim", config, tiny_camvid, 1))
    assert what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_training_cut_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, tiny_camvid: Path, config: Path
) -> None:
    variant = Variant("gfa+ca", {"base_channels": 16})
    (wanted,) = trainings([variant], [0], tmp_path / "study")
    wanted.folder.mkdir(parents=True)
    (wanted.folder / "metrics.csv").write_text("step\n")
    (wanted.folder / "config.yaml").write_text("")
    # Flags cannot make another network of the variant, however they are written.
    flags = ("--model.attent=sa", "--model.options.base_channels=8")
    recipe = Recipe("rtformer_slim", config, tiny_camvid, 1, flags)
    with locked_folder(tmp_path / "study") as lock:
        assert not train([wanted], recipe, lock=lock, jobs=1, console=Console(stderr=True))
    assert wanted.finished
    assert [step for step, _ in read_log(wanted.folder / "metrics.csv").points("val/miou")] == [2]
    card, _ = read_weights(wanted.folder / "last.ckpt")
    assert card.options == {**TINY, "base_channels": 16}  # the variant's options beside those of the config
    assert card.attention == "gfa+ca"
