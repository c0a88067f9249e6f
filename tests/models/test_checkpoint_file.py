"""Damaged weights are refused before they are used, or prove to be the same: flips and holes anywhere in the files."""

import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.checkpoint_file import RESUMED, load_checkpoint
from rtseg.models.weights import read_weights
from rtseg.training.checkpoint import AtomicCheckpointIO, read_header

CONTENT: dict[str, Any] = {
    "model_card": {"model": "rtformer_slim", "attention": "gfa+ca", "num_classes": 2, "ids": [7, 9]},
    "state_dict": {"segmenter.a": torch.arange(5000.0), "segmenter.b": torch.ones(3, 4)},
    "global_step": 5, "epoch": 1, "hyper_parameters": {}, "optimizer_states": [{"state": {0: torch.ones(9)}}],
    "lr_schedulers": [{"last_epoch": 5}], "loops": {}, "callbacks": {},
}  # fmt: skip


def write(path: Path, **changes: Any) -> Path:
    torch.save({**CONTENT, **changes}, path)
    return path


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if inner is None:
        yield at, (str(value.dtype), value.numpy().tobytes()) if isinstance(value, torch.Tensor) else value
    for key, entry in inner or ():
        yield from leaves(entry, f"{at}/{key}")


def damages(whole: bytes) -> Iterator[bytes]:
    """Flips of one bit, more of them in what describes the tensors at both ends; pages of zeros; cuts."""
    dice = random.Random(0)
    end, hole = min(len(whole), 1500), min(len(whole) // 4, 512)
    places = [dice.randrange(len(whole)) for _ in range(30)]
    places += [dice.randrange(end) for _ in range(15)] + [len(whole) - 1 - dice.randrange(end) for _ in range(15)]
    for at in places:
        yield whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
    for at in (dice.randrange(len(whole) - hole) for _ in range(20)):
        yield whole[:at] + bytes(hole) + whole[at + hole :]
    yield from (whole[: dice.randrange(len(whole))] for _ in range(5))


def refused(file: Path, read: Callable[[], Any]) -> int:
    """How many damages of a file are refused, in one line each; what is not refused is what it was."""
    whole, good, told = file.read_bytes(), list(leaves(read())), []
    for damaged in damages(whole):
        file.write_bytes(damaged)
        try:
            assert list(leaves(read())) == good
        except UserError as error:
            told.append(str(error))
    file.write_bytes(whole)
    assert all(str(file.parent) in text and "\n" not in text for text in told)
    return len(told)


def test_damaged_checkpoints_are_refused_or_harmless(tmp_path: Path) -> None:
    file = write(tmp_path / "last.ckpt")
    assert refused(file, lambda: AtomicCheckpointIO().load_checkpoint(file)) > 60
    header = read_header(str(file))
    assert header is not None
    assert header["global_step"] == 5


def test_damaged_folders_are_refused_said_or_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "net"
    create_model("rtformer_slim", 3, base_channels=2, spp_channels=2).save_pretrained(folder)

    def read() -> list[Any]:
        card, state = read_weights(folder)
        if said := capsys.readouterr().err:
            raise UserError(said.strip())
        return [card.to_dict(), state]

    assert refused(folder / "model.safetensors", read) == 85
    assert refused(folder / "config.json", read) > 75


def test_files_of_two_folders_do_not_go_together(tmp_path: Path) -> None:
    for name in "ab":
        create_model("rtformer_slim", 3, base_channels=2, spp_channels=2).save_pretrained(tmp_path / name)
    (tmp_path / "a/model.safetensors").replace(tmp_path / "b/model.safetensors")
    with pytest.raises(UserError, match=r"of another network than the config.json beside it \(CRC-32"):
        read_weights(tmp_path / "b")


def test_the_newest_whole_checkpoint_is_named(tmp_path: Path) -> None:
    for step, name in enumerate(["old", "best", "last", "cut"]):
        write(tmp_path / f"{name}.ckpt", global_step=step)
    for name in ("last", "cut"):
        content = (tmp_path / f"{name}.ckpt").read_bytes()
        (tmp_path / f"{name}.ckpt").write_bytes(content[:5000] + bytes(100) + content[5100:])
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    told = "the newest whole one beside it (step 1)"
    with pytest.raises(UserError) as error:
        read_header(str(last), resumes=True)
    assert f"--ckpt_path={last} is damaged" in str(error.value)
    assert str(error.value).endswith(f"give --ckpt_path {best}, {told}")
    with pytest.raises(UserError) as error:
        read_weights(last)
    assert str(error.value).endswith(f"give '{best}', {told}")


def twice(levels: int) -> Any:
    """A list of 2^levels entries in a few bytes."""
    inner: Any = [1]
    for _ in range(levels):
        inner = [inner, inner]
    return inner


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state_dict": [1]}, "its state_dict is of type list, not dict"),
        ({"ema_state_dict": "text"}, "its ema_state_dict is of type str, not dict"),
        ({"global_step": "5"}, "its global_step is of type str, not int"),
        ({"global_step": True}, "its global_step is of type bool, not int"),
        ({"hyper_parameters": None}, "its hyper_parameters is of type NoneType, not dict"),
        ({"model_card": torch.ones(3)}, "its model_card is of type Tensor, not dict"),
        ({"global_step": -1}, "its global_step is -1"),
        ({"state_dict": {5: torch.ones(1)}}, "an entry of its state_dict has no text as its name"),
        ({"optimizer_states": []}, "its optimizer_states do not contain a state to resume from"),
        ({"lr_schedulers": [7]}, "its lr_schedulers do not contain a state to resume from"),
        ({"callbacks": {"a": twice(40)}}, "it is nested too deeply, or holds more than a million entries"),
    ],
)
def test_what_no_training_writes_is_said_in_a_sentence(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = write(tmp_path / "last.ckpt", **changes)
    with pytest.raises(UserError) as error:
        load_checkpoint(file, RESUMED)
    assert str(error.value) == f"'{file}' was not written by an rtseg training: {told}"


def test_what_a_resumed_training_needs_is_missed(tmp_path: Path) -> None:
    torch.save({key: value for key, value in CONTENT.items() if key != "loops"}, tmp_path / "last.ckpt")
    load_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"it does not contain its loops \(found: model_card, state_dict"):
        load_checkpoint(tmp_path / "last.ckpt", RESUMED)


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Ten megabytes of it could be ten gigabytes."""
    with zipfile.ZipFile(write(tmp_path / "last.ckpt")) as whole:
        records = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"its record 'last/data.pkl' has changed|claim more bytes"):
        load_checkpoint(tmp_path / "last.ckpt")
