"""What trainings of one study share."""

from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.studies.runs.recipe import Recipe, _interval, check_recipe


def test_validations_end_with_the_last_epoch() -> None:
    for epochs in range(1, 200):
        assert epochs % _interval(epochs) == 0
        assert epochs == 1 or _interval(epochs) < epochs  # a cut training has a checkpoint to go on from
    assert [_interval(epochs) for epochs in (16, 20, 30, 31)] == [4, 4, 6, 1]


def test_a_recipe_is_all_its_files(tmp_path: Path, tiny_camvid: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "small.yaml").write_text("batch_size: 3\n")
    (tmp_path / "own.yaml").write_text("data: data/small.yaml\n")
    recipe = Recipe("rtformer_slim", tmp_path / "own.yaml", tiny_camvid, 2)
    slip = Recipe("rtformer_slim", tmp_path / "own.yaml", tiny_camvid, 2, ("--trainer.precison=32",))
    check_recipe(slip, tmp_path / "recipe.json")
    check_recipe(recipe, tmp_path / "recipe.json")  # nothing was trained by the one with the slip
    (tmp_path / "sa_seed0").mkdir()
    (tmp_path / "sa_seed0" / "last.ckpt").touch()
    check_recipe(recipe, tmp_path / "recipe.json")
    (tmp_path / "data" / "small.yaml").write_text("batch_size: 4\n")
    with pytest.raises(UserError, match="other settings in the config"):
        check_recipe(recipe, tmp_path / "recipe.json")
    (tmp_path / "recipe.json").write_text("")
    with pytest.raises(UserError, match=r"recipe.json' is damaged"):
        check_recipe(recipe, tmp_path / "recipe.json")
