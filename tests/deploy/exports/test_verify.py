"""A file proves itself: right on every engine, and refused or wrong after any change."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import rtseg
from rtseg.cli import main
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.read import read_graph, read_proven
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.exports.verify import _cut, engines_of
from rtseg.deploy.graph import Format, Graph
from rtseg.errors import UserError
from rtseg.layers.normalize import IMAGENET_MEAN
from rtseg.models.segmenter import Segmenter
from tests.helpers.exports import write_proven
from tests.helpers.networks import SHAPE

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def proof(shared_segmenter: Segmenter) -> Proof:
    return prove(shared_segmenter, SHAPE)


@pytest.fixture(scope="module", params=["onnx", "xml", "mnn"])
def file(
    request: pytest.FixtureRequest, logits_graph: Graph, proof: Proof, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    format: Format = request.param
    if format != "onnx":
        pytest.importorskip({"xml": "openvino", "mnn": "MNN"}[format])
    return write_proven(tmp_path_factory.mktemp("files"), logits_graph, proof, format)


def verify(*arguments: object) -> int:
    try:
        main(["verify", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_image_shows_the_usual_mistakes(proof: Proof) -> None:
    assert proof.unseen == ()
    assert proof.source == "drawn street 0"
    assert proof.image.shape == (*SHAPE[1:], 3)
    again = Proof.from_dict(json.loads(json.dumps(proof.to_dict())))
    assert np.array_equal(again.image, proof.image)
    assert np.array_equal(again.class_map, proof.class_map)
    assert again.equal_percent(proof.class_map) == 100
    assert (again.samples and again.samples.to_dict()) == (proof.samples and proof.samples.to_dict())


def test_an_image_of_ones_own(shared_segmenter: Segmenter, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)).save(tmp_path / "a.png")
    assert prove(shared_segmenter, (None, 40, 48), tmp_path / "a.png").source == "an image of yours"
    Image.new("RGB", (70, 90)).save(tmp_path / "b.png")
    assert prove(shared_segmenter, (None, 40, 48), tmp_path / "b.png").source.startswith("drawn street")


def test_a_file_is_read_back(file: Path, logits_graph: Graph, proof: Proof) -> None:
    graph, found = read_proven(file)
    assert found is not None
    assert np.array_equal(found.class_map, proof.class_map)
    assert (graph.card, graph.weights, graph.output, graph.shape) == (
        logits_graph.card, logits_graph.weights, logits_graph.output, logits_graph.shape
    )  # fmt: skip
    assert f".{graph.format}" == file.suffix
    assert graph.name == f"'{file}'"


def test_a_right_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(file) == 0
    printed = capsys.readouterr().out
    assert f"{file}: whole. rtformer_slim, logits; image: drawn street 0, 64x96" in printed
    least = "99.9" if file.suffix == ".mnn" else "99.99"
    assert f": right, 100.000 % equal ({least} % needed), logits off by " in printed
    assert "WRONG" not in printed


def test_engines_that_run_no_8_bits_are_left_out(
    logits_graph: Graph, proof: Proof, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By what the file says of itself."""
    pytest.importorskip("MNN")
    file = write_proven(tmp_path, logits_graph, proof, precision="int8")
    assert verify(file) == 0
    printed = capfd.readouterr()
    assert "Left out: mnn, mnn-small-tiles, which do not run graphs in 8 bits." in printed.out
    assert "mnn:" not in printed.out
    assert verify(file, "--engine", "mnn") == 2
    assert "MNN does not run graphs in 8 bits" in capfd.readouterr().err
    assert rtseg.load(file).runner.engine != "mnn"


@quick
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), beside=st.booleans())
def test_one_flipped_bit_is_refused(file: Path, share: float, bit: int, beside: bool) -> None:
    path = file.with_suffix(".bin") if beside and file.suffix == ".xml" else file
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(share * len(whole))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        with pytest.raises(UserError, match=rf"'{file}'"):
            read_graph(file)
    finally:
        path.write_bytes(whole)


@quick
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused(file: Path, tmp_path: Path, share: float) -> None:
    whole = file.read_bytes()
    cut = tmp_path / file.name
    cut.write_bytes(whole[: int(share * len(whole))])
    cut.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(UserError, match=rf"'{cut}'"):
        read_graph(cut)


@pytest.mark.parametrize("mistake", ["mean", "colours", "class", "scale"])
def test_a_wrong_file(
    mistake: str, logits_graph: Graph, proof: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an exporter with a mistake would write it, whole by its digest."""
    changed = proof
    if mistake == "colours":
        changed = replace(proof, image=np.ascontiguousarray(proof.image[..., ::-1]))
    elif mistake == "class":
        classes = proof.class_map.copy()
        classes[:1, :2] = (classes[:1, :2] + 1) % 5
        changed = replace(proof, class_map=classes)
    elif mistake == "scale":
        assert proof.samples is not None
        changed = replace(proof, samples=replace(proof.samples, values=1.002 * proof.samples.values))
    file = write_proven(tmp_path, logits_graph, changed)
    if mistake == "mean":
        proto = onnx.load_model_from_string(file.read_bytes())
        (shift,) = (tensor for tensor in proto.graph.initializer if tensor.name.endswith("normalize.shift"))
        values = onnx.numpy_helper.to_array(shift) + np.array(IMAGENET_MEAN, np.float32).reshape(1, 3, 1, 1)
        shift.CopyFrom(onnx.numpy_helper.from_array(values, shift.name))
        (entry,) = (entry for entry in proto.metadata_props if entry.key == "rtseg")
        entry.value = entry.value.replace(json.loads(entry.value)["digest"], BLANK)
        file.write_bytes(seal(proto.SerializeToString()))
    assert verify(file, "--engine", "onnxruntime") == 1
    assert "onnxruntime: WRONG," in capsys.readouterr().out


def test_a_file_predicts_as_its_network(file: Path, shared_segmenter: Segmenter, proof: Proof) -> None:
    """By the two lines of Python that take a checkpoint."""
    kind = engines_of(read_graph(file).format)[0]
    assert (rtseg.load(file, engine=kind)(proof.image) == proof.class_map).mean() >= 0.9999


# --- bad input


def test_what_cannot_be_verified(
    logits_graph: Graph, proof: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.pdf").touch()
    (tmp_path / "net.xml").write_text("<net/>")
    file = write_proven(tmp_path, logits_graph, None)
    bad: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "lost.onnx",), "lost.onnx' does not exist"),
        ((tmp_path / "net.pdf",), "is no export: `rtseg export` writes .onnx, .xml, .mnn, .pt2"),
        ((tmp_path / "net.xml",), "no such file: '" + str(tmp_path / "net.bin")),
        ((file,), "has no proof"),
    ]
    for arguments, words in bad:
        assert verify(*arguments) == 2
        assert words in capsys.readouterr().err.replace("\n", " ")
    file = write_proven(tmp_path, logits_graph, proof)
    for engine, words in (("eager", "does not run .onnx files"), ("openvino:int8", "as they are"), ("x", "unknown")):
        assert verify(file, "--engine", engine) == 2
        told = capsys.readouterr().err.replace("\n", " ")
        assert f"--engine {engine}: " in told
        assert words in told


def test_100_means_all() -> None:
    assert (_cut(100.0), _cut(99.9999)) == ("100.000", "99.999")


def test_a_file_of_format_2_has_no_samples(
    logits_graph: Graph, proof: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its class map alone is compared; in a file of format 3 they must be there."""
    file = write_proven(tmp_path, logits_graph, replace(proof, samples=None))
    older = file.read_bytes().replace(b'"samples": null', b'"sampled": null')
    blank = re.sub(rb"(?<=rtseg-sha256:)[0-9a-f]{64}", b"0" * 64, older)
    file.write_bytes(seal(blank))
    with pytest.raises(UserError, match="its proof has no samples"):
        read_graph(file)
    file.write_bytes(seal(blank.replace(b'{"format": 3,', b'{"format": 2,')))
    assert verify(file, "--engine", "onnxruntime") == 0
    assert "onnxruntime: right, 100.000 % equal (99.99 % needed)\n" in capsys.readouterr().out


def test_a_newer_file_is_named(logits_graph: Graph, proof: Proof, tmp_path: Path) -> None:
    file = write_proven(tmp_path, logits_graph, proof)
    newer = file.read_bytes().replace(b'{"format": 3,', b'{"format": 9,')
    file.write_bytes(newer)
    with pytest.raises(UserError, match="is not as written"):  # the number itself is what was damaged
        read_graph(file)
    file.write_bytes(seal(re.sub(rb"(?<=rtseg-sha256:)[0-9a-f]{64}", b"0" * 64, newer)))
    with pytest.raises(UserError, match=r"by a newer rtseg \(format 9; this one reads up to 3\)"):
        read_graph(file)
