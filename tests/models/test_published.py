"""Published weights by name: fetched from a server of this machine, converted, kept, and refused where they changed."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

import rtseg
from rtseg.cli import main
from rtseg.data import label_space
from rtseg.errors import UserError
from rtseg.models import Segmenter
from rtseg.models.paddle import OFFICIAL_VARIANTS
from rtseg.models.pdparams import read_pdparams
from rtseg.models.weights import read_weights
from rtseg.paths import check_network
from rtseg.published import PUBLISHED, find_published
from tests.helpers.command import exit_status
from tests.helpers.https import Store, https_store
from tests.helpers.paddle import fake_params, trunk_params

ROOT = Path(__file__).parents[2]
NET, BACKBONE = PUBLISHED["paddleseg/rtformer_slim_cityscapes"], PUBLISHED["paddleseg/rtformer_slim_imagenet"]


@pytest.fixture(scope="session")
def network_file(golden: Path) -> bytes:
    return pickle.dumps(fake_params(golden, "rtformer_slim_cityscapes"), protocol=4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path, network_file: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with https_store({NET.path: network_file}) as store:
        monkeypatch.setenv("SSL_CERT_FILE", str(store.certificate))
        monkeypatch.setenv("RTSEG_MIRROR", store.address)
        yield store


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def zipped(**members: bytes) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


KEPT = [f"weights/{NET.name}.seen.json", *(f"weights/{NET.name}/{n}" for n in ("README.md", "config.json"))]
KEPT = sorted([*KEPT, f"weights/{NET.name}/model.safetensors"])


def test_each_name_is_a_network_that_can_be_converted() -> None:
    for name, entry in PUBLISHED.items():
        assert find_published(name) is find_published(Path(name)) is entry
        assert entry.address.startswith("https://paddleseg.bj.bcebos.com/dygraph/")
        assert entry.dataset == "imagenet" or (entry.model, entry.dataset) in OFFICIAL_VARIANTS
        assert entry.dataset in entry.path or entry.suffix == ".zip"
    assert find_published("somebody/net") is None
    with pytest.raises(UserError, match=r"no published weights 'paddleseg/rtformer'.*Known: paddleseg/rtformer_base_"):
        find_published("paddleseg/rtformer")
    with pytest.raises(
        UserError, match=r"'PaddleSeg/RTFormer_Slim_ADE20K'\. Did you mean 'paddleseg/rtformer_slim_ade"
    ):
        find_published("PaddleSeg/RTFormer_Slim_ADE20K")


def test_a_network_is_fetched_once(
    store: Store, cache: Path, network_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cut = [10**6]
    check_network(NET.name)
    assert store.asked == [NET.path, f"{NET.path} from 1000000"]
    card, state = read_weights(NET.name)
    assert files(cache) == KEPT
    assert card.class_names == label_space("cityscapes").names
    assert (card.miou, card.license) == (76.31, "Apache-2.0")
    assert str(card.source).startswith(f"PaddleSeg, {store.address}{NET.path}, SHA-256 ")
    assert str(card.source)[-64:] == json.loads((cache / f"weights/{NET.name}.seen.json").read_text())["sha256"]
    params = read_pdparams_of(network_file, cache)
    np.testing.assert_array_equal(state["backbone.stem.0.weight"], params["conv1.0.weight"])
    monkeypatch.setenv("RTSEG_MIRROR", "https://127.0.0.1:9")
    check_network(NET.name)
    segmenter = Segmenter.from_pretrained(NET.name)
    assert segmenter.card == card
    assert rtseg.load(NET.name).card == card
    assert len(store.asked) == 2
    with pytest.raises(UserError, match="is not a Hugging Face id, so revision cannot be given with it"):
        Segmenter.from_pretrained(NET.name, revision="main")
    with (cache / f"weights/{NET.name}/model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(UserError, match=r"is damaged.*It is a copy: remove '.*slim_cityscapes', and the next command"):
        read_weights(NET.name)


def read_pdparams_of(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    (folder / "again.pdparams").write_bytes(content)
    return read_pdparams(folder / "again.pdparams")


@pytest.mark.slow
def test_a_backbone_comes_out_of_its_archive(store: Store, cache: Path, golden: Path) -> None:
    content = pickle.dumps(trunk_params(golden), protocol=4)
    store.files[BACKBONE.path] = zipped(**{"folder/model.pdparams": content, "folder/readme.txt": b"x"})
    card, _ = read_weights(BACKBONE.name, parts=("backbone",))
    assert (card.part, card.num_classes) == ("backbone", 1000)
    assert [name for name in files(cache) if "/." in name or "pdparams" in name or "zip" in name] == []
    with pytest.raises(UserError, match=r"pre-trained backbone.*--model\.weights=paddleseg/rtformer_slim_imagenet"):
        rtseg.load(BACKBONE.name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped(), "has 0 files .pdparams in place of one"),
        (zipped(**{"a.pdparams": b"", "b.pdparams": b""}), "has 2 files .pdparams"),
        (zipped(**{"a.pdparams": bytes(BACKBONE.most + 1)}), "more than the 72000000 bytes that it may"),
        (b"no archive", "is damaged or no zip archive"),
        (zipped(**{"a.pdparams": b"abc"})[:-30], "is damaged or no zip archive"),
    ],
    ids=["empty", "two", "large", "none", "cut"],  # bytes of an archive hold the time
)
def test_archives_that_are_refused(store: Store, cache: Path, content: bytes, says: str) -> None:
    store.files[BACKBONE.path] = content
    with pytest.raises(UserError, match=says):
        read_weights(BACKBONE.name, parts=("backbone",))
    assert files(cache) == []


@pytest.mark.slow
def test_another_file_than_the_first_is_refused(store: Store, cache: Path, golden: Path) -> None:
    read_weights(NET.name)
    folder = cache / "weights" / NET.name
    for file in list(folder.iterdir()):
        file.unlink()
    folder.rmdir()
    other = fake_params(golden, "rtformer_slim_cityscapes")
    other["conv1.0.weight"] += 1
    store.files[NET.path] = pickle.dumps(other, protocol=4)
    with pytest.raises(UserError, match=r"another file than the one seen on 20.*not opened.*remove '.*\.seen\.json'"):
        check_network(NET.name)
    assert files(cache) == [f"weights/{NET.name}.seen.json"]
    folder.with_name(f"{folder.name}.seen.json").unlink()
    _, state = read_weights(NET.name)
    np.testing.assert_array_equal(state["backbone.stem.0.weight"], other["conv1.0.weight"])


class Hostile:
    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, ("hostile",)


def test_a_hostile_or_wrong_file_leaves_nothing(
    store: Store, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content, says in (
        (pickle.dumps({"conv1.0.weight": Hostile()}), "asks for 'posix.mkdir'"),
        (pickle.dumps({"conv1.0.weight": np.zeros((32, 3, 3, 3), np.float32)}), "contains a trunk"),
        (b"<html>Log in to this network</html>", "is damaged or not a .pdparams file"),
    ):
        store.files[NET.path] = content
        with pytest.raises(UserError, match=f"'{NET.name}', from {store.address}.*{says}"):
            read_weights(NET.name)
        assert files(tmp_path) == []
    store.files[NET.path] = bytes(NET.most + 10**6)
    with pytest.raises(UserError, match=r"has 89\.0 MB, more than the 88\.0 MB that it may have"):
        read_weights(NET.name)
    assert files(tmp_path) == []


def test_what_to_do_by_hand_is_said(
    store: Store, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = (
        f"By hand: fetch https://paddleseg.bj.bcebos.com{NET.path} elsewhere, run `rtseg convert model.pdparams "
        f"--model rtformer_slim --dataset cityscapes -o DIR`, and give DIR in place of {NET.name}"
    )
    (tmp_path / "image.png").touch()
    predict = ("predict", NET.name, str(tmp_path / "image.png"), "-o", str(tmp_path / "new"))
    for mirror, says in (
        (f"{store.address}/nothing/", "404"),
        ("https://127.0.0.1:9", "refused"),
        ("http://a", "not"),
        ("https://[a", "not"),
    ):
        monkeypatch.setenv("RTSEG_MIRROR", mirror)
        status = exit_status(main, *predict)
        error = " ".join(capsys.readouterr().err.split())
        assert (status, error.count("error: ")) == (2, 1)
        assert says in error
        assert f"cannot be fetched from RTSEG_MIRROR={mirror}:" in error
        assert by_hand in error
    assert files(tmp_path) == ["image.png"]
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"is a file; give another folder.*by RTSEG_CACHE=FOLDER"):
        check_network(NET.name)
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / ("x" * 300)))
    with pytest.raises(UserError, match="File name too long"):
        check_network(NET.name)


PROGRAM = f"""
import sys
from rtseg.errors import UserError
from rtseg.paths import check_network
from rtseg.models.weights import read_weights
check_network("{NET.name}")
print(read_weights("{NET.name}")[0].dataset)
"""


@pytest.mark.slow
def test_two_processes_at_once_fetch_it_once(store: Store, cache: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=-1, text=True) for _ in range(3)]
    assert [process.communicate()[0].split() for process in both] == [["cityscapes"]] * 3
    assert store.asked == [NET.path]
    assert files(cache) == KEPT


@pytest.mark.slow
def test_a_killed_command_is_resumed_by_the_next(store: Store, cache: Path, network_file: bytes) -> None:
    store.cut, store.stall = [5_000_000], True
    command = [sys.executable, "-m", "rtseg", "export", NET.name, "-o", str(cache / "net.onnx")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        part = cache / f"weights/{NET.name}.pdparams.part"
        until = time.monotonic() + 60
        while (not part.is_file() or part.stat().st_size < 4_900_000) and time.monotonic() < until:
            time.sleep(0.05)
        process.kill()
    assert files(cache / "weights")[1:] == [f"{NET.name}.pdparams.part{ending}" for ending in ("", ".json")]
    store.go_on.set()
    _, state = read_weights(NET.name)
    assert re.fullmatch(rf"{NET.path} from [45]\d{{6}}", store.asked[-1])
    assert files(cache) == KEPT
    np.testing.assert_array_equal(
        state["backbone.stem.0.weight"], read_pdparams_of(network_file, cache)["conv1.0.weight"]
    )


@pytest.mark.slow
def test_the_logits_are_paddles(store: Store, shared: Path) -> None:
    entry = PUBLISHED["paddleseg/rtformer_slim_ade20k"]
    store.files[entry.path] = (shared / "golden/rtformer_slim_ade20k.pdparams").read_bytes()
    store.cut = [5_000_000, 5_000_000]
    segmenter = Segmenter.from_pretrained(entry.name)
    assert len(store.asked) == 3
    assert segmenter.card.eval_resize == (512, 2048)
    with np.load(shared / "golden/rtformer_slim_ade20k.io.npz") as io, torch.no_grad():
        for key in [key for key in io.files if key.startswith("x/")]:
            size = key.removeprefix("x/")
            logits = segmenter.logits(torch.from_numpy(io[key])).numpy()
            np.testing.assert_allclose(logits, io[f"seghead/{size}"], rtol=0, atol=5e-4)
