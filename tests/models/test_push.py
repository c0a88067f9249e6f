"""`rtseg push` to a hub on this machine: what it sends, and what it says where the hub does not take it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rtseg.cli import main
from rtseg.models import Segmenter, create_model
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import describe
from rtseg.models.weights import read_weights
from tests.helpers.command import exit_status
from tests.helpers.hub import writable_hub
from tests.helpers.segmenters import small

TOKEN = "hf_" + "a" * 34


@pytest.fixture
def public() -> dict[str, bool]:
    return {"somebody/old": True, "somebody/hidden": False}


@pytest.fixture
def room(tmp_path: Path, public: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the hub has; this machine is logged in to it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with writable_hub(tmp_path / "room", TOKEN, public) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        yield tmp_path / "room"


@pytest.fixture
def network(tmp_path: Path) -> Segmenter:
    network = small(num_classes=2)
    names = {"class_names": ("road", "sky"), "dataset": "camvid", "input_size": (360, 480), "plugins": ("mine.py",)}
    describe(network, **names, source="a test", license="CC0-1.0", miou=61.5)
    network.save_pretrained(tmp_path / "net")
    return network.eval()


def test_a_network_is_sent_with_its_description(
    network: Segmenter, room: Path, tmp_path: Path, public: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(main, "push", str(tmp_path / "net"), "somebody/streets") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "/somebody/streets has it now. Try: rtseg predict somebody/streets IMAGE -o DIR" in said
    assert public["somebody/streets"]
    sent = room / "somebody" / "streets"
    assert sorted(path.name for path in sent.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert Segmenter.from_pretrained(sent).card == network.card
    readme = (sent / "README.md").read_text()
    for words in (
        "library_name: rtseg\n",
        "# rtformer_slim, attention gfa+ca, 2 classes\n",
        "Data set: camvid.\nWeights: a test. Licence: CC0-1.0.\nmIoU on its validation images: 61.5 %.\n",
        'class_map = rtseg.load("somebody/streets")("street.jpg")\n',
        "by mean [0.485, 0.456, 0.406] and standard deviation [0.229, 0.224, 0.225] of levels 0 to 1.\n",
        "height and width: [360, 480].\n",
        "- Classes: 0 road, 1 sky.\n- It needs the plug-in mine.py.",
    ):
        assert words in readme


def test_a_private_repository(
    network: Segmenter, room: Path, tmp_path: Path, public: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(tmp_path / "net")
    for name in ("new", "hidden"):
        assert exit_status(main, "push", source, f"somebody/{name}", "--private") == 0
        assert not public[f"somebody/{name}"]
    assert exit_status(main, "push", source, "somebody/old") == 0
    assert (room / "somebody" / "old" / "config.json").is_file()
    capsys.readouterr()
    (room / "somebody" / "old" / "config.json").unlink()
    assert exit_status(main, "push", source, "somebody/old", "--private") == 2
    assert "'somebody/old' is on the Hugging Face hub and public: make it private" in capsys.readouterr().err
    assert not (room / "somebody" / "old" / "config.json").exists(), "nothing is sent"


@pytest.mark.slow
def test_a_backbone_is_sent_too(room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = create_model("rtformer_slim", 2, base_channels=8)
    card = replace(network.card, part="backbone", num_classes=10, head=None)
    state = {key: value for key, value in network.state_dict().items() if key.startswith("backbone.")}
    save_backbone(tmp_path / "backbone", card, state)
    assert exit_status(main, "push", str(tmp_path / "backbone"), "somebody/trunk") == 0
    command = " ".join(capsys.readouterr().out.split()).partition("Try: ")[2]
    assert command.startswith("rtseg fit --config CONFIG --model.name=rtformer_slim")
    assert command.endswith("--model.weights=somebody/trunk")
    sent = room / "somebody" / "trunk"
    found: ModelCard = read_weights(sent, parts=("backbone",))[0]
    assert found == card
    assert command in (sent / "README.md").read_text()


def test_what_the_hub_does_not_take(
    network: Segmenter,
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(repository: str = "somebody/streets") -> str:
        assert exit_status(main, "push", str(tmp_path / "net"), repository) == 2
        error = capsys.readouterr().err
        assert error.count("error: ") == 1
        assert "Traceback" not in error
        return " ".join(error.split())

    for name in ("somebody", "a/b/c", "a/b@main", "a/b.ckpt", "paddleseg/rtformer_slim_ade20k"):
        assert f"'{name}' is not a Hugging Face id of your own: give OWNER/NAME" in refused(name)
    assert "does not let you write to 'nobody/net' (403): log in with a token that may write for nobody" in refused(
        "nobody/net"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN[:-1] + "b")
    assert "does not let you write to 'somebody/streets' (401)" in refused()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "did not take 'somebody/streets': " in refused()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "nobody is logged in to the Hugging Face hub here: run `hf auth login`" in refused()
    assert not room.exists()
