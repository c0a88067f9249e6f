"""What makes a training what it is, written down and compared."""

import pytest

from rtseg.errors import UserError
from rtseg.training.settings import check_length, check_same, flat


def test_settings_are_named_as_flags_are() -> None:
    arguments = {"optim": {"betas": (0.9, 0.99)}, "name": "slim", "seed": 3, "compile": True}
    assert flat("model", arguments, ("compile",)) == {
        "model.optim.betas": [0.9, 0.99], "model.name": "slim", "model.seed": 3,
    }  # fmt: skip


def test_a_setting_that_an_older_checkpoint_lacks_is_not_compared() -> None:
    check_same({"model.seed": 3, "gone": 1}, {"model.seed": 3, "model.new": 4})


def test_what_older_trainings_did_is_known_where_it_matters() -> None:
    ours = {"data.reduced": False, "data.upsampling": "once", "data.channels": None}
    check_same({}, ours)
    for key, value in (("data.reduced", True), ("data.channels", 4), ("data.upsampling", "twice")):
        with pytest.raises(UserError, match=rf"(?s){key}={value} differs .*Give the same: --{key}="):
            check_same({"model.seed": 3}, ours | {key: value})


def test_a_difference_in_a_long_list_is_found() -> None:
    names = [f"class {k}" for k in range(40)]
    with pytest.raises(UserError, match=r"data.classes\[30\]=other differs from the checkpoint's class 30"):
        check_same({"data.classes": names}, {"data.classes": [*names[:30], "other", *names[31:]]})


def test_a_seed_is_named_once() -> None:
    theirs, ours = ({"model.seed": seed, "data.seed": seed} for seed in (0, 7))
    with pytest.raises(UserError, match=r"(?s)data.seed=7.*Give the same: --seed_everything=0\.") as error:
        check_same(theirs, ours)
    assert "model.seed" not in str(error.value)


@pytest.mark.parametrize(
    ("begun", "reached", "total"), [(None, 6, 9), (None, 6, 6), (6, 3, 6), (6, 6, 6), (6, 6, 9), (6, 7, 9)]
)
def test_lengths_that_go(begun: int | None, reached: int, total: int) -> None:
    check_length(begun, reached, total, longer=True)


@pytest.mark.parametrize(
    ("begun", "reached", "total", "longer"),
    [(6, 3, 9, True), (6, 6, 3, True), (6, 6, 9, False), (6, 3, 2, True), (None, 6, 3, True)],
)
def test_lengths_that_are_another_training(begun: int | None, reached: int, total: int, longer: bool) -> None:
    with pytest.raises(UserError, match=rf"{begun or reached} steps.*{total}"):
        check_length(begun, reached, total, longer=longer)


@pytest.mark.parametrize(
    ("total", "epochs", "flags"),
    [
        (63, 9, "--trainer.max_epochs=6"),
        (40, 8, "--trainer.max_steps=42 --trainer.max_epochs=-1"),
        (63, None, "--trainer.max_steps=42 --trainer.max_epochs=-1"),
    ],
)
def test_flags_that_give_the_length_again(total: int, epochs: int | None, flags: str) -> None:
    with pytest.raises(UserError, match=rf"begun for 42 steps, .* give the same: {flags} \("):
        check_length(42, 7, total, longer=True, epochs=epochs)
