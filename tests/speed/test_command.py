"""`rtseg benchmark`: what it takes by name, what it prints and writes, and what it refuses."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import Tensor

from rtseg.cli import main
from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.engines.eager import Eager
from rtseg.deploy.export import export_file
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.scenes import make_data
from rtseg.speed.benchmark import Candidate, Case, Report, benchmark, texture
from rtseg.speed.command import parse_size, run_benchmark
from rtseg.speed.plot import draw
from rtseg.speed.results import refresh, render
from rtseg.speed.tables import headline, notes, published, stages

SIZE = (32, 40)
TIMING: dict[str, Any] = {"warmup_seconds": 0.0, "min_iterations": 3, "min_seconds": 0.01, "max_seconds": 0.2}
QUICK: dict[str, Any] = {"input_sizes": [SIZE], "device": "cpu", "threads": 1, **TIMING}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return create_model("rtformer_slim", 5, base_channels=8, spp_channels=16, head_channels=8, cross_size=3).eval()


@pytest.fixture(scope="module")
def checkpoint(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint") / "net"
    segmenter.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def exported(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("onnxruntime")
    file = tmp_path_factory.mktemp("exported") / "net.onnx"
    export_file(checkpoint, file, (1, *SIZE))
    return str(file)


@pytest.fixture(scope="module")
def report(segmenter: Segmenter) -> Report:
    """Two engines, two sizes and DDRNet's protocol."""
    candidate = Candidate(segmenter)
    wanted = [
        Case(candidate, backend, shape) for shape in ((1, 16, 24), (2, 32, 24)) for backend in ("reference", "eager")
    ]
    return benchmark(wanted, device="cpu", stages=True, ddrnet_seconds=0.01, **TIMING)


def rows(report: Report) -> list[tuple[str, str]]:
    return [(r.network_name, r.backend) for r in report.networks]


def words(text: str) -> str:
    """Without the frames of tables and with single blanks."""
    return " ".join(re.sub(r"[│┃╇╈┏┓┡┩└┘┴┬├┤┼─━]", " ", text).split())


def available(*backends: str) -> list[str]:
    found = []
    for backend in backends:
        kind, precision = parse_backend(backend)
        try:
            kind.check(precision, torch.device("cpu"))
        except UserError:
            continue
        found.append(backend)
    return found


# --- what it takes


def test_a_checkpoint_on_two_engines(
    checkpoint: str, segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(texture((50, 70))).save(tmp_path / "street.png")
    output = tmp_path / "new" / "speed.json"
    found = run_benchmark(
        [checkpoint], backends=["reference", "eager"], images=[str(tmp_path / "street.png")], output=output,
        command="rtseg benchmark", **QUICK,
    )  # fmt: skip
    printed = capsys.readouterr()
    assert rows(found) == [("rtformer_slim gfa+ca", "reference:fp32"), ("rtformer_slim gfa+ca", "eager:fp32")]
    last = printed.out.splitlines()[-1]
    assert last + "\n" == output.read_text()
    assert Report.from_json(last) == found
    assert json.loads(last)["conditions"]["command"] == "rtseg benchmark"
    for r in found.networks:
        assert r.weights == weights_hash(segmenter)
        assert r.stages
        assert r.input_size == SIZE
        assert r.engine["threads"] == 1
    parity = found.networks[1].parity
    assert parity is not None
    assert parity.gate == "equal_percent"  # the checkpoint counts as trained
    assert found.conditions["input"] == "1 given picture(s)"
    text = words(printed.out)
    for part in ("picture → class map, ms", "parity", "Stages, median ms", "upsample", "argmax", "x reference"):
        assert part in text
    assert "untrained networks" not in text
    picture = ElementTree.parse(output.with_suffix(".svg")).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(path.name for path in output.parent.iterdir()) == ["speed.json", "speed.svg"]
    assert "Written:" in printed.err


def test_a_folder_is_sorted_by_device_and_date(checkpoint: str, tmp_path: Path) -> None:
    run_benchmark([checkpoint], backends=["eager"], output=tmp_path / "results", **QUICK)
    (folder,) = (tmp_path / "results").iterdir()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folder.name)
    (file,) = folder.glob("*.json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}", file.stem)
    assert file.with_suffix(".svg").is_file()
    page = tmp_path / "page.md"
    begin, end = (
        "<!-- speed tables: made by `make benchmark` from benchmarks/results, do not edit -->\n",
        ("<!-- end of the speed tables -->\n"),
    )
    page.write_text(f"before\n{begin}rubbish\n{end}after\n")
    refresh(tmp_path / "results", page)
    text = page.read_text()
    assert text.startswith(f"before\n{begin}")
    assert text.endswith(f"{end}after\n")
    assert "| rtformer_slim gfa+ca, 5 classes," in text
    assert "rubbish" not in text


@pytest.mark.slow
def test_models_and_rivals_by_name() -> None:
    pytest.importorskip("torchvision")
    names = ["rtformer_slim", "ddrnet_23_slim", "lraspp_mobilenet_v3_large"]
    found = run_benchmark(names, attentions=["gfa", "sa"], num_classes=3, backends=["eager"], **QUICK)
    assert [r.network_name for r in found.networks] == [
        "rtformer_slim gfa", "rtformer_slim sa", "ddrnet_23_slim", "lraspp_mobilenet_v3_large"
    ]  # fmt: skip
    assert {r.num_classes for r in found.networks} == {3}
    assert {r.weights for r in found.networks} == {"random (untrained)"}
    assert {r.parity.gate for r in found.networks if r.parity} == {"logits_error"}
    assert "untrained networks: times only" in " ".join(notes(found))


@pytest.mark.slow
def test_segformer_by_name() -> None:
    pytest.importorskip("transformers")
    found = run_benchmark(["segformer_b0"], num_classes=3, backends=["eager"], **QUICK)
    assert rows(found) == [("segformer_b0", "eager:fp32")]
    assert found.networks[0].class_map is not None


def test_attentions_without_a_model_are_of_rtformer(checkpoint: str) -> None:
    found = run_benchmark([checkpoint], attentions=["ea"], num_classes=3, backends=["eager"], **QUICK)
    assert [r.network_name for r in found.networks] == ["rtformer_slim gfa+ca", "rtformer_slim ea"]


def test_engines_that_are_missing_are_left_out_and_named(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
    found = run_benchmark([checkpoint], **QUICK)
    assert [r.backend for r in found.networks] == ["reference:fp32", "eager:fp32"]
    said = capsys.readouterr().err
    assert re.search(r"without onnxruntime: onnxruntime is missing here .*pip install 'rtseg\[onnx\]'", said)
    assert re.search(r"without openvino: openvino is missing here .*pip install 'rtseg\[openvino\]'", said)
    assert "without openvino:bf16:" in said
    with pytest.raises(UserError, match="onnxruntime is missing here"):
        run_benchmark([checkpoint], backends=["eager", "onnxruntime"], **QUICK)


def test_an_exported_file_on_all_engines_that_read_it(exported: str, segmenter: Segmenter) -> None:
    found = run_benchmark([exported], **QUICK)
    assert [r.backend for r in found.networks] == [
        name if ":" in name else f"{name}:fp32" for name in available("onnxruntime", "openvino", "openvino:bf16")
    ]
    for r in found.networks:
        assert r.weights == weights_hash(segmenter)
        if r.backend == "onnxruntime:fp32":  # what the others are held against
            assert r.parity is None
            continue
        assert r.parity is not None
        assert r.parity.gate == "equal_percent"
        assert (r.class_map is None) == (not r.parity.passed)
    with pytest.raises(UserError, match=r"net\.onnx' is of 1x32x40 .*ask for this --input-size"):
        run_benchmark([exported], **{**QUICK, "input_sizes": [(64, 64)]})


def test_folders_of_images_are_thinned(checkpoint: str, tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(texture((9 + i, 12))).save(tmp_path / f"{i:02d}.png")
    found = run_benchmark([checkpoint], backends=["eager"], images=[str(tmp_path)], **QUICK)
    assert found.conditions["input"] == "10 given picture(s)"


@pytest.mark.slow
def test_several_sizes_and_batches(checkpoint: str) -> None:
    sizes = [(16, 16), (24, 16)]
    found = run_benchmark(
        [checkpoint], backends=["eager"], batch_sizes=[1, 2], protocol="ddrnet", **{**QUICK, "input_sizes": sizes}
    )
    assert [(r.input_size, r.batch_size) for r in found.networks] == [(s, b) for s in sizes for b in (1, 2)]
    assert [r["input_size"] for r in found.ddrnet_protocol] == [list(size) for size in sizes]


# --- what it prints


def test_tables_have_a_row_for_each_case(report: Report) -> None:
    table = headline(report)
    assert len(table.rows) == 4
    assert {len(row) for row in table.rows} == {len(table.headings)}
    assert [row[5] for row in table.rows][::2] == ["reference", "reference"]
    assert [row[8] for row in table.rows][::2] == ["1.00", "1.00"]
    for row, r in zip(table.rows, report.networks, strict=True):
        assert r.class_map is not None
        assert row[7] == f"{r.class_map.fps:.1f}"
        pixels = r.class_map.fps * r.input_size[0] * r.input_size[1] / 1e6
        assert row[11] == f"{pixels:.1f}"
    assert table.rows[-1][2] == "32x24, batch 2"
    parts = stages(report)
    assert parts is not None
    assert {len(row) for row in parts.rows} == {len(parts.headings)}
    own = published(report)
    assert own is not None
    assert [row[:2] for row in own.rows] == [["rtformer_slim gfa+ca", "16x24"], ["rtformer_slim gfa+ca", "32x24"]]
    lines = table.markdown().splitlines()
    assert lines[1] == "| --- | --- | --- |" + " ---: |" * 9
    assert {line.count("|") for line in lines} == {13}
    assert any("23 BatchNorm folded, 24 left" in note for note in notes(report))


def test_nothing_that_was_not_measured_is_shown(report: Report) -> None:
    bare = Report(report.conditions, ())
    assert (stages(bare), published(bare), draw(bare)) == (None, None, None)


def test_the_plot_has_a_dot_for_each_row_and_a_name_for_each_network(report: Report) -> None:
    text = draw(report)
    assert text is not None
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    dots = [dot for dot in root.iter(f"{space}circle") if dot.find(f"{space}title") is not None]
    assert len(dots) == 4
    for dot in dots:
        assert 0 < float(dot.attrib["cx"]) < 760
        assert 0 < float(dot.attrib["cy"]) < 460
    shown = [text.text for text in root.iter(f"{space}text")]
    assert shown.count("rtformer_slim gfa+ca 16x24") == 1
    assert shown.count("eager:fp32") == 1


# --- what it refuses


def wrong(self: Eager, logits: Tensor) -> Tensor:
    return (class_map(logits, self.shape[1:]) + 1) % 5


def test_a_wrong_engine_gets_no_fps(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Eager, "classes", wrong)
    output = tmp_path / "speed.json"
    with pytest.raises(UserError, match="no row agrees with the reference, so that there is no FPS"):
        run_benchmark([checkpoint], backends=["eager", "eager:bf16"], output=output, **QUICK)
    printed = capsys.readouterr().out
    assert "refused:" in printed
    last = json.loads(printed.splitlines()[-1])
    assert last == json.loads(output.read_text())
    assert "fps" not in json.dumps(last["networks"])
    assert not output.with_suffix(".svg").exists()
    table = headline(Report.from_json(output.read_text()))
    for row in table.rows:
        assert row[6].startswith("refused: ")
        assert "of the pixels are the reference's" in row[6]
        assert row[7:] == [""] * 5
    capsys.readouterr()
    # Beside a row that is right, the figures are those of that row.
    found = run_benchmark([checkpoint], backends=["reference", "eager"], **QUICK)
    assert [r.class_map is None for r in found.networks] == [False, True]


def test_ones_own_parity(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", wrong)
    with pytest.raises(UserError, match="no row agrees"):
        run_benchmark([checkpoint], backends=["eager"], least_percent=1, **QUICK)
    assert run_benchmark([checkpoint], backends=["eager"], least_percent=0, **QUICK).networks[0].class_map


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["rtformer_slm"], "'rtformer_slm' is no checkpoint, .onnx file, model or rival. Did you mean 'rtformer_slim'"),
        (["segformer_b2"], r"Did you mean 'segformer_b[01]'"),
        (["lost.onnx"], r"no such file: 'lost\.onnx'"),
        (["runs/lost.ckpt"], r"'runs/lost\.ckpt' does not exist"),
    ],
)
def test_unknown_networks_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_benchmark(names, backends=["eager"], **QUICK)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    for name, message in (("net.onnx", "is no whole ONNX file"), ("net.ckpt", "damaged")):
        (tmp_path / name).write_bytes(b"some bytes of another kind")
        with pytest.raises(UserError, match=message):
            run_benchmark([str(tmp_path / name)], **QUICK)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"least_percent": 101}, "--min-parity 101 must be per cent, from 0 to 100"),
        ({"least_percent": -1}, "--min-parity -1 must be"),
        ({"least_percent": float("nan")}, "--min-parity nan must be"),
        ({"protocol": "foo"}, "protocol 'foo': choose rtseg or ddrnet"),
        ({"backends": ["tensorrt"]}, "unknown backend 'tensorrt'"),
        ({"backends": ["eager:int8"]}, "no precision 'int8'"),
        ({"input_sizes": [(0, 32)]}, "height 0"),
        ({"batch_sizes": [0]}, "batch size 0"),
        ({"threads": 0}, "threads 0"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"images": ["no-such-picture.png"]}, "no such picture"),
        ({"min_seconds": -1}, "min_seconds=-1"),
    ],
)
def test_bad_conditions_are_refused(checkpoint: str, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_benchmark([checkpoint], **{"backends": ["eager"], **QUICK, **bad})


@pytest.mark.parametrize("number", [0, -3])
def test_no_classes_are_refused(number: int) -> None:
    with pytest.raises(UserError, match="num_classes"):
        run_benchmark(["ddrnet_23_slim"], num_classes=number, backends=["eager"], **QUICK)


@pytest.mark.parametrize("existing", ["speed.json", "speed.svg"])
def test_an_existing_output_is_refused_before_anything_is_measured(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str
) -> None:
    monkeypatch.setattr("rtseg.speed.command.benchmark", lambda *_, **__: pytest.fail("it was measured"))
    (tmp_path / existing).write_text("mine")
    with pytest.raises(UserError, match=f"{existing}' exists; give another name"):
        run_benchmark([checkpoint], backends=["eager"], output=tmp_path / "speed.json", **QUICK)
    assert (tmp_path / existing).read_text() == "mine"


def test_an_output_below_a_file_is_refused(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "speed.json"):
        with pytest.raises(UserError, match="file"):
            run_benchmark([checkpoint], backends=["eager"], output=output, **QUICK)


def test_an_output_of_another_kind_is_refused(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"speed.txt' must end in .json, or be a folder"):
        run_benchmark([checkpoint], backends=["eager"], output=tmp_path / "speed.txt", **QUICK)


def test_data_that_do_not_fit_are_refused(checkpoint: str, tmp_path: Path) -> None:
    make_data("camvid", 1, tmp_path / "data", n_val=2, size=(64, 96))
    with pytest.raises(UserError, match=r"pictures are 64x96 .* give --input-size 64 96"):
        run_benchmark([checkpoint], backends=["eager"], data=tmp_path / "data", **QUICK)
    with pytest.raises(UserError, match=r"has 5 classes, the data set has 11"):
        run_benchmark([checkpoint], backends=["eager"], data=tmp_path / "data", **{**QUICK, "input_sizes": [(64, 96)]})


def test_miou_stands_beside_the_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_data("camvid", 1, tmp_path / "data", n_val=2, size=(64, 96))
    network = create_model("rtformer_slim", 11, base_channels=8, spp_channels=8, head_channels=8)
    network.save_pretrained(tmp_path / "net")
    report = run_benchmark(
        [str(tmp_path / "net")],
        backends=["reference", "eager"],
        data=tmp_path / "data",
        least_percent=0,
        **{**QUICK, "input_sizes": [(64, 96)]},
    )
    assert report.conditions["input"] == "2 given picture(s)"  # the data set's own
    assert all(row.miou is not None for row in report.networks)
    assert "mIoU" in capsys.readouterr().out


def test_sizes_as_text() -> None:
    assert parse_size("1024x2048") == (1024, 2048)
    for bad in ("5x", "x5", "5", "", "5x5x5", "ax5", "5 x 5", "-5x5", "5×5"):
        with pytest.raises(UserError, match=f"'{re.escape(bad)}' is no input size: give height x width"):
            parse_size(bad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--also", "5x"], "error: '5x' is no input size: give height x width, as in 1024x2048"),
        (["--min-parity", "101"], "error: --min-parity 101 must be per cent"),
        (["--protocol", "foo"], "error: protocol 'foo'"),
        (["rtformer_slm"], "Did you mean 'rtformer_slim'"),
    ],
)
def test_the_command_ends_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--device", "cpu", *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_results_of_another_version_are_named(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "2026-01-01_000000.json").write_text('{"networks": []}')
    with pytest.raises(UserError, match="was not written by this version of rtseg"):
        render(tmp_path)
