"""A file that is written is read back as it was; a file that is damaged, or of others, is refused in words."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtseg.deploy.engines import create_engine
from rtseg.deploy.exports.command import export_file
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import Graph, Output
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.speed.benchmark import texture
from tests.helpers.networks import SHAPE

onnx = pytest.importorskip("onnx")

PICTURES = torch.from_numpy(texture(SHAPE[1:]))[None]
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def checkpoint(shared_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "net"
    shared_segmenter.save_pretrained(folder)
    return folder


@pytest.fixture
def export_for_nothing(monkeypatch: pytest.MonkeyPatch, logits_graph: Graph) -> None:
    """The graph that is there already, in place of a new one: for what happens around the export."""
    monkeypatch.setattr("rtseg.deploy.exports.command.export", lambda *_: logits_graph)


def test_a_file_of_a_batch_of_odd_size_is_read_back_as_it_was(
    checkpoint: Path, shared_segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "net.onnx"
    export_file(str(checkpoint), file, (2, 37, 53))
    graph = read_graph(file)
    assert graph.card == shared_segmenter.card
    assert graph.weights == weights_hash(shared_segmenter)
    assert (graph.output, graph.shape, graph.name) == ("logits", (2, 37, 53), f"'{file}'")
    assert graph.model == file.read_bytes()
    assert os.listdir(file.parent) == ["net.onnx"]  # weights lie inside
    printed = capsys.readouterr().out
    assert f"{file}: rtformer_slim, logits" in printed
    assert printed.splitlines()[-1] == f"Try: rtseg benchmark {file}"
    pictures = torch.cat([PICTURES, PICTURES.flip(1)])[:, 5:42, 3:56].contiguous()
    expected = deploy(shared_segmenter)(pictures)
    assert len(expected.unique()) > 1
    for backend in ("onnxruntime", "openvino"):
        pytest.importorskip(backend)
        assert (create_engine(backend, graph, graph.shape)(pictures) == expected).double().mean() >= 0.999


@pytest.mark.parametrize("output", ["logits", "class_map"])
def test_what_a_graph_says_of_itself(
    shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph, output: Output, tmp_path: Path
) -> None:
    graph = {"logits": logits_graph, "class_map": class_map_graph}[output]
    assert (graph.output, graph.shape, graph.weights) == (output, SHAPE, weights_hash(shared_segmenter))
    (tmp_path / "g.onnx").write_bytes(graph.model)
    again = read_graph(tmp_path / "g.onnx")
    assert (again.card, again.weights, again.output, again.shape) == (graph.card, graph.weights, output, SHAPE)
    proto = onnx.load_model_from_string(graph.model)
    (put_in,), (put_out,) = proto.graph.input, proto.graph.output
    assert (put_in.name, put_out.name) == ("pictures", output)
    assert [d.dim_value for d in put_in.type.tensor_type.shape.dim] == [*SHAPE, 3]
    assert put_in.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = [d.dim_value for d in put_out.type.tensor_type.shape.dim]
    assert dims == ([1, 8, 12, 5] if output == "logits" else [*SHAPE])
    operations = [node.op_type for node in proto.graph.node]
    assert ("ArgMax" in operations) == (output == "class_map")
    assert not any(initializer.name.startswith("aux_head") for initializer in proto.graph.initializer)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "onnxruntime-plain"])
def test_engines_run_what_is_read(
    shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph, backend: str, tmp_path: Path
) -> None:
    pytest.importorskip(backend.removesuffix("-plain"))
    graph = class_map_graph if backend.endswith("plain") else logits_graph
    (tmp_path / "g.onnx").write_bytes(graph.model)
    found = create_engine(backend, read_graph(str(tmp_path / "g.onnx")), SHAPE)(PICTURES)
    expected = create_engine("reference", shared_segmenter, SHAPE)(PICTURES)
    assert (found.long() == expected).double().mean() >= 0.9999


def test_exporting_changes_no_network(shared_segmenter: Segmenter, logits_graph: Graph) -> None:
    assert shared_segmenter.training
    assert weights_hash(shared_segmenter) == logits_graph.weights


def test_check(logits_graph: Graph, class_map_graph: Graph) -> None:
    logits_graph.check(SHAPE, "logits")
    class_map_graph.check(SHAPE, "class_map")
    with pytest.raises(UserError, match=r"the exported graph takes 1x64x96 images .* not 1x96x64\. Export the"):
        logits_graph.check((1, 96, 64), "logits")
    with pytest.raises(UserError, match="puts out logits, and class_map is needed"):
        logits_graph.check(SHAPE, "class_map")


# --- bad input


@pytest.mark.parametrize("name", ["net.pt", "net", "net.onnx.zip", "net.ONNX"])
def test_other_suffixes_are_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export_file(str(checkpoint), tmp_path / name, SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    with pytest.raises(UserError, match=r"net\.onnx' exists"):
        export_file(str(checkpoint), tmp_path / "net.onnx", SHAPE)
    assert (tmp_path / "net.onnx").read_text() == "mine"


@pytest.mark.parametrize("shape", [(0, 64, 96), (1, 0, 96), (1, 64, -1)])
def test_bad_shapes_are_refused(checkpoint: Path, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="whole numbers of at least 1 are needed"):
        export_file(str(checkpoint), tmp_path / "net.onnx", shape)
    assert list(tmp_path.iterdir()) == []


def test_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        export_file(str(tmp_path / "lost.ckpt"), tmp_path / "new" / "net.onnx", SHAPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("export_for_nothing")
def test_a_folder_that_cannot_be_made_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        export_file(str(checkpoint), tmp_path / "file" / "net.onnx", SHAPE)


def test_no_file_is_refused(tmp_path: Path) -> None:
    for name in ("lost.onnx", "."):
        with pytest.raises(UserError, match="no such file"):
            read_graph(tmp_path / name)


def refuse(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_graph(path)


@pytest.mark.parametrize("data", [b"", b"\0", b"not a graph", b"\x08\x0a", b"PK\3\4" + bytes(100)])
def test_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path / "x.onnx", data, r"x\.onnx' is not a complete ONNX file \(.+\): export it again")


@quick
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_files_are_refused(logits_graph: Graph, tmp_path: Path, share: float) -> None:
    refuse(tmp_path / "x.onnx", logits_graph.model[: int(share * len(logits_graph.model))], r"x\.onnx'")


@quick
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path / "x.onnx", data, r"x\.onnx'")


@quick
@given(share=st.floats(0, 1, exclude_max=True), length=st.integers(1, 40), value=st.integers(0, 255))
def test_overwritten_bytes_never_end_in_a_traceback(
    logits_graph: Graph, tmp_path: Path, share: float, length: int, value: int
) -> None:
    """Also where they hit weights, and the file is whole all the same."""
    at = int(share * len(logits_graph.model))
    data = bytearray(logits_graph.model)
    data[at : at + length] = bytes([value]) * len(data[at : at + length])
    (tmp_path / "x.onnx").write_bytes(data)
    try:
        graph = read_graph(tmp_path / "x.onnx")
    except UserError:
        return
    before, after = (onnx.load_model_from_string(model) for model in (logits_graph.model, graph.model))
    assert after.graph == before.graph
    assert len(graph.shape) == 3


def test_a_changed_weight_is_seen(logits_graph: Graph, tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(logits_graph.model)
    weight = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = weight.raw_data[:-1] + bytes([weight.raw_data[-1] ^ 1])
    refuse(tmp_path / "x.onnx", proto.SerializeToString(), "is not as written: nodes, weights or what it says")


def test_what_it_says_of_itself_cannot_change(logits_graph: Graph, tmp_path: Path) -> None:
    for old, new in ((b'"ids": [7, 8,', b'"ids": [9, 8,'), (b"pytorch", b"pYtorch")):
        assert logits_graph.model.count(old) == 1
        refuse(tmp_path / "x.onnx", logits_graph.model.replace(old, new), "is not as written")


def other_size(proto: Any, said: dict[str, Any]) -> None:
    said["shape"] = [1, 10**9, 96]


def other_classes(proto: Any, said: dict[str, Any]) -> None:
    said["card"] |= {"num_classes": 7, "class_names": [], "palette": [], "ids": []}


def other_output(proto: Any, said: dict[str, Any]) -> None:
    said["output"] = "class_map"


def other_file(proto: Any, said: dict[str, Any]) -> None:
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "../../etc/passwd")


def not_finite(proto: Any, said: dict[str, Any]) -> None:
    weight = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = b"\xff" * len(weight.raw_data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_size, r"takes \[\[1, 64, 96, 3\]\] and puts out .* but says that it takes \(1, 1000000000, 96\) images"),
        (other_classes, "puts out logits of 7 classes: export it again"),
        (other_output, "puts out class_map of 5 classes: export it again"),
        (other_file, "keeps weights in another file, which `rtseg export` never does"),
        (not_finite, "its weights hold NaN or infinity"),
    ],
)
def test_a_graph_of_another_s_data_or_shape_is_refused(
    change: Any, message: str, logits_graph: Graph, tmp_path: Path
) -> None:
    """With right digests: as another program could write it."""
    proto = onnx.load_model_from_string(logits_graph.model)
    (entry,) = [entry for entry in proto.metadata_props if entry.key == "rtseg"]
    said = json.loads(entry.value)
    said["digest"] = BLANK
    change(proto, said)
    refuse(tmp_path / "x.onnx", seal(with_metadata(proto, json.dumps(said))), message)


def with_metadata(graph: Any, value: str | None, key: str = "rtseg") -> bytes:
    proto = onnx.load_model_from_string(graph.model) if isinstance(graph, Graph) else graph
    del proto.metadata_props[:]
    if value is not None:
        proto.metadata_props.add(key=key, value=value)
    return proto.SerializeToString()


def test_files_of_others_are_refused(logits_graph: Graph, tmp_path: Path) -> None:
    for data in (with_metadata(logits_graph, None), with_metadata(logits_graph, "{}", key="author")):
        refuse(
            tmp_path / "x.onnx",
            data,
            r"does not say which network it is, as files of `rtseg export` do.*cut off or renamed",
        )


def test_damaged_descriptions_are_refused(logits_graph: Graph, tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(logits_graph.model)
    (text,) = [entry.value for entry in proto.metadata_props if entry.key == "rtseg"]
    good = json.loads(text)
    bad: list[Any] = [
        *[{key: value for key, value in good.items() if key != left_out} for left_out in good],
        {**good, "output": "boxes"},
        {**good, "output": ["logits"]},
        {**good, "shape": [64, 96]},
        {**good, "shape": "big"},
        {**good, "shape": None},
        {**good, "card": {**good["card"], "num_classes": 0}},
        {**good, "card": {"model": "rtformer_slim"}},
        {**good, "card": None},
        [],
        None,
        7,
    ]
    for value in ["", "{", text[:-1], *map(json.dumps, bad)]:
        refuse(
            tmp_path / "x.onnx",
            with_metadata(logits_graph, value),
            r"x\.onnx'.*is damaged|does not say|is not as written",
        )
    (tmp_path / "x.onnx").write_bytes(with_metadata(logits_graph, json.dumps(good)))
    assert read_graph(tmp_path / "x.onnx").card == logits_graph.card
