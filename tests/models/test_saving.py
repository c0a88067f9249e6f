"""Folders that segmenters are saved in and come back from, whole, half and damaged; the hub."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.errors import UserError
from rtseg.models import Segmenter
from rtseg.models.segmenter import describe
from tests.helpers.hub import hub_of
from tests.helpers.segmenters import PAIRS, randomise_statistics, small

# --- saving and loading


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = small(num_classes=2, injection=(True, True))
    randomise_statistics(network)
    describe(network, class_names=("road", "sky"), palette=((1, 2, 3), (4, 5, 6)), ids=(7, 8), dataset="camvid")
    network.save_pretrained(tmp_path / "runs" / "saved")
    return tmp_path / "runs" / "saved"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, *_: object, **__: object) -> str:
        raise AssertionError(f"the network was asked for {name}")

    monkeypatch.setattr("rtseg.paths.fetch", fetch)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("attention", PAIRS)
@torch.no_grad()
def test_a_saved_segmenter_comes_back_the_same(attention: str, tmp_path: Path) -> None:
    network = small(attention=attention, injection=[True, True], head_channels=4, drop_path=0.25)
    randomise_statistics(network)
    network.save_pretrained(tmp_path / "saved")
    back: Any = Segmenter.from_pretrained(str(tmp_path / "saved"))
    assert not back.training
    assert back.card == network.card
    state = back.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    image = torch.randn(1, 3, 33, 40)
    assert torch.equal(back(image), network.eval()(image))


def test_the_folder_describes_itself(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = json.loads((saved / "config.json").read_text())
    assert card["class_names"] == ["road", "sky"]
    assert card["options"] == {"base_channels": 8, "spp_channels": 16, "injection": [True, True]}
    readme = (saved / "README.md").read_text()
    assert "library_name: rtseg" in readme
    assert "# rtformer_slim, attention gfa+ca, 2 classes" in readme
    assert "Data set: camvid" in readme
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1  # whoever may read one may read all


def test_weights_in_another_memory_format_can_be_saved(tmp_path: Path) -> None:
    network = small().to(memory_format=torch.channels_last)
    network.save_pretrained(tmp_path / "saved")
    back: Any = Segmenter.from_pretrained(tmp_path / "saved")
    assert torch.equal(back.backbone.stem[3].weight, network.backbone.stem[3].weight)


def break_saving(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def half(folder: Path, *what: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr("rtseg.models.segmenter.write_weights", half)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_saving(monkeypatch, error)
    with pytest.raises(type(error)):
        small().save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_second_save_keeps_the_first(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    break_saving(monkeypatch, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        small(num_classes=2).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_saving_into_a_folder_replaces_the_network_and_keeps_the_rest(saved: Path) -> None:
    (saved / "README.md").write_text("my notes")
    (saved / "picture.png").write_bytes(b"png")
    network = small(num_classes=3)
    network.save_pretrained(saved)
    back: Any = Segmenter.from_pretrained(saved)
    assert back.card == network.card
    assert torch.equal(back.aux_head.classify[2].weight, network.aux_head.classify[2].weight)
    assert (saved / "README.md").read_text() == "my notes"
    assert (saved / "picture.png").read_bytes() == b"png"


def test_saving_onto_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("mine")
    with pytest.raises(UserError, match="is a file; give another folder"):
        small().save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved").read_text() == "mine"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "config.json").unlink(),
            "does not contain config.json.*found: README.md, model.safetensors",
        ),
        (
            lambda folder: (folder / "config.json").rename(folder / "best.ckpt"),
            r"does not contain config.json, .*writes\. Did you mean '.*best.ckpt'\?$",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "does not contain model.safetensors.*: README.md, config",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json' is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a card"),
        (lambda folder: (folder / "config.json").write_text("[" * 5000), "config.json' is not JSON.*nested too deeply"),
        (lambda folder: (folder / "config.json").write_text('{"model": ' + "9" * 5000), "config.json' is not JSON"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "config.json' is not JSON"),
        (lambda folder: (folder / "config.json").write_bytes(bytes(5 * 2**20)), "has 5242880 bytes, more than"),
        (lambda folder: (folder / "config.json").write_text("{}"), "model, attention, num_classes missing"),
        (lambda folder: edit_card(folder, attention="sa"), "do not fit rtformer_slim with attention 'sa'"),
        (lambda folder: edit_card(folder, model="resnet"), "unknown model 'resnet'"),
        (lambda folder: edit_card(folder, options={"depth": 3}), "no option 'depth'"),
        (lambda folder: edit_card(folder, crc32={}, input_size=[64, "w"]), r"must be \[height, width\]"),
        (lambda folder: edit_card(folder, crc32=[]), "must hold the CRC-32 of files"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"text"), "is damaged, or of another network than"),
        (lambda folder: cut(folder / "model.safetensors"), "is damaged, or of another network than"),
        (lambda folder: write_text_and_forget(folder), "damaged or not a safetensors file"),
        (lambda folder: shutil.rmtree(folder), "saved' does not exist"),
    ],
)
def test_damaged_folders_are_refused(damage: Any, message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(UserError, match=message) as error:
        Segmenter.from_pretrained(saved)
    assert str(saved) in str(error.value)


@pytest.mark.usefixtures("offline")
def test_a_card_that_was_edited_loads_and_is_said(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_card(saved, class_names=["sky", "road"], crc32=card(saved)["crc32"])
    assert Segmenter.from_pretrained(saved).card.class_names == ("sky", "road")
    assert "config.json' has changed since it was written. If you did not" in capsys.readouterr().err
    edit_card(saved)
    Segmenter.from_pretrained(saved)
    assert not capsys.readouterr().err


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def edit_card(folder: Path, **changes: object) -> None:
    """By hand, with the CRCs removed unless they are given: a folder as older versions wrote it."""
    (folder / "config.json").write_text(json.dumps({**card(folder), "crc32": {}, **changes}))


def write_text_and_forget(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"text")
    edit_card(folder)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "name", ["missing", "runs/missing", "./missing/again", "/no/such/place", "a/b/c", "~/weights", "gone/last.ckpt", ""]
)
def test_a_path_that_is_not_there_stays_off_the_network(
    name: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parents[1])
    with pytest.raises(UserError, match=r"does not exist|does not contain"):
        Segmenter.from_pretrained(name)


def test_owner_and_name_are_looked_for_on_the_hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    with hub_of({"somebody/rtformer-1.0": saved}) as (address, asked):
        hub = {"endpoint": address, "cache_dir": str(tmp_path / "cache")}
        network = Segmenter.from_pretrained("somebody/rtformer-1.0", revision="v1", **hub)
    assert network.card.class_names == ("road", "sky")
    assert "GET /somebody/rtformer-1.0/resolve/v1/model.safetensors" in asked
    with pytest.raises(UserError, match=r"'somebody/else' is neither a path here \(.*\) nor .* does not answer"):
        Segmenter.from_pretrained("somebody/else", **hub)


def test_a_push_to_the_hub_sends_the_whole_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {}

    class Hub:
        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, repo_id: str, **_: object) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **_: object) -> str:
            sent[repo_id] = {path.name: path.read_text(errors="replace") for path in Path(folder_path).iterdir()}
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert small().push_to_hub("somebody/rtformer") == "address"
    files = sent["somebody/rtformer"]
    assert files.keys() == {"README.md", "config.json", "model.safetensors"}
    assert "# rtformer_slim, attention gfa+ca, 5 classes" in files["README.md"]
