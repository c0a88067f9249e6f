"""The folder that `rtseg page` writes, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.cli import main
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.graph import Graph, OpenShape
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.page.graph import PageGraph, page_graph
from rtseg.page.network import drawn_example, static_files
from rtseg.page.runtime import CDN, VERSION, check_runtime, runtime_files
from rtseg.page.write import write_page
from tests.helpers.command import check_refused, exit_status

CARD = ModelCard("net", "none", 2, eval_resize=(64, 256), upsampling="twice")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> PageGraph:
    """A network that takes no time to export."""
    proof = Proof(np.full((4, 6, 3), 7, np.uint8), np.zeros((4, 6), np.uint8), 99.99, "grey")
    graph = PageGraph(b"a graph", CARD, None, "float32", proof)

    def of_size(source: str, size: tuple[int, int] | None) -> PageGraph:
        return graph._replace(size=size)

    monkeypatch.setattr("rtseg.page.write.page_graph", of_size)
    return graph


def test_a_page_of_the_cdn(drawn: PageGraph, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_page("net.ckpt", tmp_path / "page", size=(64, 96))
    names = {file.name for file in (tmp_path / "page").iterdir()}
    assert names == {*static_files(), "network.json", "network.onnx", "example.png"}
    said = json.loads((tmp_path / "page" / "network.json").read_text())
    assert said["input"] == {
        "name": "pictures", "type": "float32", "size": [64, 96], "resize": [64, 256], "most_pixels": 2**21
    }  # fmt: skip
    assert said["upsampling"] == "twice"
    assert said["graph"]["bytes"] == len(b"a graph")
    assert said["runtime"]["wasm"]["module"]["file"] == f"{CDN}ort.wasm.bundle.min.mjs"
    policy = (tmp_path / "page" / "index.html").read_text()
    assert f"connect-src 'self' {CDN};" in policy
    example = np.asarray(Image.open(tmp_path / "page" / "example.png"))
    assert (example == drawn_example(CARD, (64, 96))).all()
    assert example.shape == (64, 96, 3)
    out = capsys.readouterr().out
    assert "127.0.0.1:8000" in out
    assert "at most 26.9 MB" in out, "of one road, not of both"


def test_the_page_itself_names_no_other_address() -> None:
    for name, file in static_files().items():
        found = set(re.findall(r"https?://[^\s\"'`<]+", file.read_text()))
        assert found <= {"http://www.w3.org/2000/svg", "http://localhost:8000"}, name


def test_the_pinned_files_have_hashes_of_sha384() -> None:
    files = list(runtime_files())
    assert len({file.name for file in files}) == 4
    assert all(re.fullmatch(r"sha384-[A-Za-z0-9+/]{64}", file.integrity) and file.size > 10_000 for file in files)
    assert VERSION in CDN


def test_an_example_of_ones_own(drawn: PageGraph, tmp_path: Path) -> None:
    mine = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(mine).save(tmp_path / "mine.png")
    write_page("net.ckpt", tmp_path / "page", example=tmp_path / "mine.png")
    assert (np.asarray(Image.open(tmp_path / "page" / "example.png")) == mine).all()


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="npm pack onnxruntime-web"):
        check_runtime(tmp_path)
    (tmp_path / "dist").mkdir()
    for file in runtime_files():
        (tmp_path / "dist" / file.name).write_bytes(b"another version")
    with pytest.raises(UserError, match=f"not that of onnxruntime-web {VERSION}"):
        check_runtime(tmp_path)


def test_nothing_is_left_where_the_network_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: str, size: object) -> PageGraph:
        raise UserError("no such network")

    monkeypatch.setattr("rtseg.page.write.page_graph", fails)
    with pytest.raises(UserError, match="no such network"):
        write_page("net.ckpt", tmp_path / "new" / "page")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.ckpt", "-o", "full"], "is not empty"),
        (["lost.ckpt", "-o", "new"], "lost.ckpt"),
        (["film.mp4", "-o", "new"], "'film.mp4' is a film and no network: give the network alone"),
        (["net.ckpt", "-o", "new", "--runtime", "lost"], "onnxruntime-web"),
        (["net.ckpt", "-o", "new", "--example", "lost.png"], "lost.png"),
        (["net.ckpt", "-o", "new", "--size", "0", "64"], "--size 0 64"),
        (["net.ckpt", "-o", "new", "--size", "2048", "2048"], "2,097,152 pixels: give less"),
    ],
)
def test_wrong_words(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("mine")
    for name in ("net.ckpt", "film.mp4"):
        (tmp_path / name).write_text("none")
    check_refused(exit_status(main, "page", *words), says, capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("output", "shape", "channels", "size", "says"),
    [
        ("class_map", (1, 64, 96), None, None, "give the checkpoint"),
        ("logits", (4, 64, 96), None, None, "for one image or any number"),
        ("logits", (1, 64, 96), None, (32, 32), "takes images of 64x96"),
        ("logits", (1, 64, 96), 4, None, "images of 4 channels"),
    ],
)
def test_exported_files_that_do_not_fit(
    output: str, shape: OpenShape, channels: int | None, size: tuple[int, int] | None, says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    half = (0.5,) * (channels or 3)
    card = ModelCard("net", "none", 2, channels=channels, mean=half, std=half)
    proof = Proof(np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8), 99.99, "black")
    graph = Graph(b"", card, "hash", output, shape)  # type: ignore[arg-type]
    monkeypatch.setattr("rtseg.page.graph.read_proven", lambda file: (graph, proof))
    with pytest.raises(UserError, match=re.escape(says)):
        page_graph("net.onnx", size)
