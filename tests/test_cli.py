import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import rtseg
from rtseg.cli import main
from rtseg.deploy.graph import Graph
from rtseg.models.segmenter import Segmenter
from rtseg.published import PUBLISHED
from rtseg.speed import timing
from rtseg.speed.rivals import list_rivals

ROOT = Path(__file__).parents[1]


def run(*args: str | Path) -> int:
    """Exit status of the command."""
    try:
        main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with three classes, called 7, 8 and 11 in their data set."""
    from rtseg.models.segmenter import describe

    segmenter = rtseg.create_model("rtformer_slim", 3, base_channels=8, head_channels=8, spp_channels=8, cross_size=2)
    describe(segmenter, class_names=("a", "b", "c"), palette=((255, 0, 0), (0, 255, 0), (0, 0, 255)), ids=(7, 8, 11))
    folder = tmp_path_factory.mktemp("trained") / "net"
    segmenter.save_pretrained(folder)
    return folder


def test_help_lists_every_command_and_stays_light() -> None:
    program = (
        "import sys; from rtseg.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'albumentations', 'cv2'} & sys.modules.keys(); sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = "fit validate test predict benchmark export verify convert make-data list report complexity compare"
    for command in [*commands.split(), "visualize"]:
        assert re.search(rf"^  {command}\b", done.stdout, re.M)


def test_predict(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("a/x.png", (37, 61)), ("b/x.jpg", (1, 5))):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8))
    out = tmp_path / "out"
    assert run("predict", trained, tmp_path / "a", tmp_path / "b" / "*.jpg", "-o", out, "--device", "cpu") == 0
    maps = sorted(out.rglob("x*.png"))
    assert len(maps) == 4  # in grey, and with a palette
    for file in maps:
        assert set(np.unique(np.asarray(Image.open(file)))) <= {7, 8, 11}
    assert len(list(out.rglob("*_overlay.jpg"))) == 2
    assert run("predict", trained, tmp_path / "a", "-o", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("predict", trained, tmp_path / "a", "-o", out, "--overwrite", "--device", "cpu") == 0
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    assert run("predict", trained, tmp_path / "a", "-o", tmp_path / "second", "--device", "cpu") == 1


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times without their warm-up of seconds, where it does not matter what they are."""
    monkeypatch.setattr(timing, "warm_up", lambda run, seconds: 0)


@pytest.mark.usefixtures("cold")
def test_benchmark_ends_with_json(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speed.json"
    arguments = ("--input-size", "32", "48", "--device", "cpu", "--seconds", "0.05", "-o", file)
    assert run("benchmark", trained, *arguments, "--also", "48x32", "--backend", "eager", "--batch-size", "2") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == json.loads(file.read_text())
    rows = last["networks"]
    assert [(row["input_size"], row["batch_size"], row["backend"]) for row in rows] == [
        ([32, 48], 2, "eager:fp32"),
        ([48, 32], 2, "eager:fp32"),
    ]
    assert all(row["class_map"]["fps"] > 0 for row in rows)


@pytest.mark.usefixtures("cold")
def test_export(
    trained: Path,
    shared_segmenter: Segmenter,
    logits_graph: Graph,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is asked for is exported and can be timed; what exists is kept. What is in the file: test_onnx_file.py."""
    from rtseg.deploy.exports.read import read_graph

    asked: list[tuple] = []

    def exported(*arguments: object) -> Graph:
        asked.append(arguments[1:3])
        return logits_graph  # it is there already: exporting takes seconds

    network = tmp_path_factory.mktemp("network")
    shared_segmenter.save_pretrained(network)
    file = tmp_path / "made" / "net.onnx"
    with monkeypatch.context() as patch:
        patch.setattr("rtseg.deploy.exports.command.export", exported)
        assert run("export", network, "-o", file, "--input-size", "64", "96") == 0
    assert asked == [((1, 64, 96), "logits")]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"Try: rtseg benchmark {file}"
    graph = read_graph(file)
    assert (graph.shape, graph.output, graph.weights) == ((1, 64, 96), "logits", logits_graph.weights)
    arguments = ("--device", "cpu", "--seconds", "0.05")  # and the file's own size
    assert run("benchmark", file, *arguments, "--backend", "onnxruntime") == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["networks"]
    assert (row["backend"], row["weights"]) == ("onnxruntime:fp32", graph.weights)
    assert row["class_map"]["fps"] > 0
    before = file.read_bytes()
    capsys.readouterr()
    bad: list[tuple[tuple[str | Path, ...], str]] = [
        ((trained, "-o", file), "net.onnx' exists"),
        ((trained, "-o", tmp_path / "net.pt"), "must end in .onnx, .xml, .mnn, .pt2"),
        ((tmp_path / "absent", "-o", tmp_path / "x.onnx"), "absent"),
        (
            (trained, "-o", tmp_path / "x.onnx", "--input-size", "0", "32"),
            "--input-size 0 32: whole numbers of at least 1 are needed",
        ),
        (
            (trained, "-o", tmp_path / "x.onnx", "--batch-size", "0"),
            "--batch-size 0: whole numbers of at least 1 are needed",
        ),
        ((trained, "-o", file / "x.onnx"), f"'{file}' is a file"),
    ]
    for wrong, words in bad:
        assert run("export", *wrong) == 2
        assert words in capsys.readouterr().err
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["made", "net.onnx"]


def test_options_of_export(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.chdir(trained.parent)
    monkeypatch.setattr("rtseg.deploy.exports.command.export_file", lambda *arguments: asked.append(arguments))
    assert run("export", "net", "-o", "a.onnx") == 0
    assert run("export", "net", "-o", "a.onnx", "--input-size", "32", "48", "--batch-size", "2", "--class-map") == 0
    assert run("export", "net", "-o", "a.xml", "--open-size", "--result", "class_map_margin") == 0
    assert asked == [
        ("net", Path("a.onnx"), 1, "logits", None, None),
        ("net", Path("a.onnx"), (2, 32, 48), "class_map", None, None),
        ("net", Path("a.xml"), (None, None, None), "class_map_margin", None, None),
    ]
    assert run("export", "net", "-o", "a.onnx", "--open-size", "--batch-size", "2") == 2
    assert run("export", "net", "-o", "a.onnx", "--image", "absent.png") == 2


def test_export_without_its_libraries_says_how_to_get_them(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run("export", trained, "-o", tmp_path / "net.onnx", "--input-size", "32", "32") == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("command", ["predict", "benchmark", "export", "convert", "make-data"])
def test_a_file_in_the_way_of_the_output_is_named(
    command: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    Image.new("RGB", (8, 8)).save(file, "PNG")
    arguments = {
        "predict": (trained, file, "--device", "cpu"),
        "benchmark": (trained, "--backend", "eager"),
        "export": (trained,),
        "convert": (file,),
    }
    for output in (file / "out" / ("x.onnx" if command == "export" else "x"), file):
        if command == "predict" or output != file:
            assert run(command, *arguments.get(command, ()), "-o", output) == 2
            assert f"'{file}' is a file; give another folder" in capsys.readouterr().err
    assert Image.open(file).size == (8, 8)


def test_make_data_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("make-data", "--layout", "camvid", "-n", "2", "--number-val", "1", "--size", "96", "128", "-o")
    assert run(*arguments, tmp_path / "d") == 0
    assert len(list((tmp_path / "d" / "train").iterdir())) == 2
    assert run(*arguments, tmp_path / "d") == 2
    assert run("make-data", "--layout", "camvit", "-o", tmp_path / "e") == 2
    assert "camvid" in capsys.readouterr().err
    assert run("list", "attentions") == 0
    assert {"ca", "gfa", "sa"} <= set(capsys.readouterr().out.split())
    assert run("list", "backends") == 0
    assert {"reference", "eager", "onnxruntime", "openvino"} <= set(capsys.readouterr().out.split())
    assert run("list", "rivals") == 0
    assert set(list_rivals()) == set(capsys.readouterr().out.split()) != set()
    assert run("list", "weights") == 0
    assert {*PUBLISHED, "36.67", "Apache-2.0"} <= set(capsys.readouterr().out.split())
    assert run("list") == 2
    assert "list what? Give models, places, heads, " in capsys.readouterr().err
    assert run("list", "model") == 2
    assert "'models'" in capsys.readouterr().err
    assert run("list", "rivals", "--details") == 2
    assert "there are no details of rivals" in capsys.readouterr().err


def test_convert(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = shared / "golden" / "rtformer_slim_ade20k.pdparams"
    out = tmp_path / "net"
    assert run("convert", weights, "--model", "rtformer_slim", "--dataset", "ade20k", "-o", out) == 0
    card = rtseg.load(out, device="cpu").card
    assert (card.num_classes, card.class_names[0], card.ids[0]) == (150, "wall", 1)
    assert run("convert", weights, "-o", out) == 2
    assert run("convert", weights, "--model", "rtformer_base", "-o", tmp_path / "base") == 2
    assert run("convert", weights, "--dataset", "cityscapes", "-o", tmp_path / "city") == 2
    assert run("convert", tmp_path / "absent", "-o", tmp_path / "x") == 2
    assert "Traceback" not in capsys.readouterr().err
