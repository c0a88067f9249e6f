"""`rtseg benchmark`: what it takes by name, what it prints and writes, and what it refuses."""

import json
import re
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.text import Text

from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.scenes import make_data
from rtseg.speed.asked import Asked
from rtseg.speed.benchmark import Candidate, Case, Report, benchmark, cases, texture
from rtseg.speed.candidate import files
from rtseg.speed.command import parse_size, run_benchmark
from rtseg.speed.plot import plot
from rtseg.speed.results import BEGIN, refresh
from rtseg.speed.tables import headline, notes, published, stages
from tests.helpers.benchmark_command import QUICK, SIZE
from tests.helpers.networks import SHAPE
from tests.helpers.speed import without_missing

OF_EXPORTED = replace(QUICK, sizes=[SHAPE[1:]])


@pytest.fixture(scope="module")
def report(shared_segmenter: Segmenter) -> Report:
    """Two engines, two sizes and DDRNet's protocol."""
    candidate = Candidate(shared_segmenter)
    wanted = [
        Case(candidate, backend, shape) for shape in ((1, 16, 24), (2, 32, 24)) for backend in ("reference", "eager")
    ]
    return benchmark(wanted, QUICK, stages=True, ddrnet=True)


def rows(report: Report) -> list[tuple[str, str]]:
    return [(r.network_name, r.backend) for r in report.networks]


def words(text: str) -> str:
    """Without the frames of tables and with single blanks."""
    return " ".join(re.sub(r"[│┃╇╈┏┓┡┩└┘┴┬├┤┼─━]", " ", text).split())


# --- what it takes


def test_a_checkpoint_on_two_engines(
    checkpoint: str, shared_segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(texture((50, 70))).save(tmp_path / "street.png")
    output = tmp_path / "new" / "speed.json"
    asked = Asked([checkpoint], backends=["reference", "eager"], command="rtseg benchmark")
    images = [str(tmp_path / "street.png")]
    found = run_benchmark(asked, QUICK, images=images, output=output)
    printed = capsys.readouterr()
    assert rows(found) == [("rtformer_slim gfa+ca", "reference:fp32"), ("rtformer_slim gfa+ca", "eager:fp32")]
    (last,) = printed.out.splitlines()  # a pipe gets the JSON alone
    assert last + "\n" == output.read_text()
    assert Report.from_json(last) == found
    assert json.loads(last)["conditions"]["command"] == "rtseg benchmark"
    for r in found.networks:
        assert r.weights == weights_hash(shared_segmenter)
        assert r.stages
        assert r.input_size == SIZE
        assert r.engine["threads"] == 1
    parity = found.networks[1].parity
    assert parity is not None
    assert parity.gate == "equal_percent"  # the checkpoint counts as trained
    assert found.conditions["input"] == "1 given image(s)"
    text = words(printed.err)
    for part in (
        "Image → class map: rtformer_slim gfa+ca, net, 5 classes, weights",
        "Where the time goes, ms",
        "argmax",
    ):
        assert part in text
    assert text.index("Where the time goes") < text.index("Image → class map:") < text.index("engine ms FPS")
    assert "untrained networks" not in text
    picture = ElementTree.parse(output.with_suffix(".svg")).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(path.name for path in output.parent.iterdir()) == ["speed.json", "speed.svg"]
    assert "Written:" in printed.err


def test_a_folder_is_sorted_by_device_and_date(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.2026"  # a folder although it looks like a file
    results.mkdir()
    full = open("/dev/full", "w")  # noqa: SIM115 (closing it fails as well)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left"):  # what cannot be printed is in the file all the same
            run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, output=results)
    with suppress(OSError):
        full.close()
    (folder,) = results.iterdir()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folder.name)
    (file,) = folder.glob("*.json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}", file.stem)
    assert file.with_suffix(".svg").is_file()
    pages = tmp_path / "pages"
    pages.mkdir()
    refresh(results, pages)
    (page,) = pages.iterdir()
    assert page.name == f"{file.stem}_{folder.name}.md"
    begun = page.read_text()
    assert begun.startswith("# Speed on ")
    assert "| rtformer_slim gfa+ca, net | 5 classes, weights " in begun
    page.write_text(begun.replace(BEGIN, f"My words.\n{BEGIN}\nrubbish"))
    refresh(results, pages)
    assert page.read_text() == begun.replace(BEGIN, f"My words.\n{BEGIN}")


@pytest.mark.slow
def test_models_and_rivals_by_name() -> None:
    pytest.importorskip("torchvision")
    names = ["rtformer_slim", "ddrnet_23_slim", "lraspp_mobilenet_v3_large"]
    found = run_benchmark(Asked(names, attentions=["gfa", "sa"], num_classes=3, backends=["eager"]), QUICK)
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
    found = run_benchmark(Asked(["segformer_b0"], num_classes=3, backends=["eager"]), QUICK)
    assert rows(found) == [("segformer_b0", "eager:fp32")]
    assert found.networks[0].class_map is not None


def test_attentions_without_a_model_are_of_rtformer(checkpoint: str) -> None:
    found = run_benchmark(Asked([checkpoint], attentions=["ea"], num_classes=3, backends=["eager"]), QUICK)
    assert [r.network_name for r in found.networks] == ["rtformer_slim gfa+ca", "rtformer_slim ea"]


def test_engines_that_are_missing_are_left_out_and_named(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("openvino", "onnxruntime", "MNN"):
        monkeypatch.setitem(sys.modules, library, None)
    found = run_benchmark(Asked([checkpoint]), QUICK)
    assert [r.backend for r in found.networks] == ["reference:fp32", "eager:fp32"]
    said = capsys.readouterr().err
    assert re.search(r"without onnxruntime: onnxruntime is missing here .*pip install 'rtseg\[onnx\]'", said)
    assert re.search(r"without openvino: openvino is missing here .*pip install 'rtseg\[openvino\]'", said)
    assert "without openvino:bf16:" in said
    with pytest.raises(UserError, match="onnxruntime is missing here"):
        run_benchmark(Asked([checkpoint], backends=["eager", "onnxruntime"]), QUICK)


def test_an_exported_file_that_no_engine_here_reads(
    exported: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Engines that never read such a file are not named."""
    for library in ("openvino", "onnxruntime", "MNN"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"onnxruntime is missing here .*pip install 'rtseg\[onnx\]'"):
        run_benchmark(Asked([exported]), OF_EXPORTED)
    named = re.findall(r"^without ([^ ]+):", capsys.readouterr().err, re.M)
    assert named == ["onnxruntime", "openvino", "openvino:bf16", "mnn", "mnn-small-tiles"]


def test_an_exported_file_on_all_engines_that_read_it(exported: str, shared_segmenter: Segmenter) -> None:
    found = run_benchmark(Asked([exported]), OF_EXPORTED)
    assert [r.backend for r in found.networks] == [
        name if ":" in name else f"{name}:fp32"
        for name in without_missing("onnxruntime", "openvino", "openvino:bf16", "mnn", "mnn-small-tiles")
    ]
    for r in found.networks:
        assert r.weights == weights_hash(shared_segmenter)
        if r.backend == "onnxruntime:fp32":  # what the others are held against
            assert r.parity is None
            continue
        assert r.parity is not None
        assert r.parity.gate == "equal_percent"
        assert (r.class_map is None) == (not r.parity.passed)
    with pytest.raises(UserError, match=r"net\.onnx' is of 1x64x96 .*ask for this --input-size"):
        run_benchmark(Asked([exported]), replace(QUICK, sizes=[(64, 64)]))


def test_a_terminal_gets_the_table_last_and_no_json(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    run_benchmark(Asked([checkpoint], backends=["reference", "eager"]), QUICK, ratios=True)
    printed = capsys.readouterr()
    assert '{"protocol"' not in printed.out + printed.err
    lines = Text.from_ansi(printed.out).plain.splitlines()
    assert max(map(len, lines)) <= 80
    table = next(i for i, line in enumerate(lines) if line.startswith("Image → class map:"))
    first = [line.split()[0].rstrip(",") for line in lines[table + 1 :]]
    assert first[first.index("engine") :][2:4] == ["reference:fp32", "eager:fp32"]
    assert not any(line.startswith("Where the time goes") for line in lines[table:])


def test_no_two_rows_share_a_name(checkpoint: str, exported: str) -> None:
    """A file and its checkpoint, and whatever is asked for twice."""
    asked = Asked([checkpoint, exported, checkpoint + "/", exported, "ddrnet_23_slim", "ddrnet_23_slim"], num_classes=3)
    found = cases(asked.candidates(QUICK), ["onnxruntime", "onnxruntime:fp32"], replace(QUICK, sizes=[SHAPE[1:]] * 2))
    names = files(case.candidate for case in found)
    assert [(case.candidate.name, names[id(case.candidate)]) for case in found] == [
        ("rtformer_slim gfa+ca", "net"),
        ("rtformer_slim gfa+ca", "net.onnx"),
        ("ddrnet_23_slim", ""),
    ]


def test_folders_of_images_are_thinned(checkpoint: str, tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(texture((9 + i, 12))).save(tmp_path / f"{i:02d}.png")
    found = run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, images=[str(tmp_path)])
    assert found.conditions["input"] == "10 given image(s)"


@pytest.mark.slow
def test_several_sizes_and_batches(checkpoint: str) -> None:
    sizes = [(16, 16), (24, 16)]
    conditions = replace(QUICK, sizes=sizes, batches=[1, 2])
    found = run_benchmark(Asked([checkpoint], backends=["eager"]), conditions, protocol="ddrnet")
    assert [(r.input_size, r.batch_size) for r in found.networks] == [(s, b) for s in sizes for b in (1, 2)]
    assert [r["input_size"] for r in found.ddrnet_protocol] == [list(size) for size in sizes]


# --- what it prints


def test_tables_have_a_row_for_each_case(report: Report) -> None:
    table = headline(report, ratios=True).without_empty()
    headings = [column.heading for column in table.columns]
    rows = [dict(zip(headings, row, strict=True)) for row in table.texts()]
    assert len(rows) == 4
    assert [row["equal"] for row in rows][::2] == ["reference", "reference"]
    assert [row["times"] for row in rows][::2] == ["1.00", "1.00"]
    for row, r in zip(rows, report.networks, strict=True):
        assert r.class_map is not None
        assert row["ms"] == f"{r.class_map.median_ms:.2f}"
        assert row["FPS"] == f"{r.class_map.fps:.1f}"
        pixels = r.class_map.fps * r.input_size[0] * r.input_size[1] / 1e6
        assert row["Mpixel/s"] == f"{pixels:.1f}"
    assert rows[-1]["input"] == "32x24, batch 2"
    parts = stages(report)
    assert parts is not None
    assert {len(row) for row in parts.texts()} == {len(parts.columns)}
    own = published(report)
    assert own is not None
    assert [row[:2] for row in own.texts()] == [["rtformer_slim gfa+ca", "16x24"], ["rtformer_slim gfa+ca", "32x24"]]
    lines = table.markdown().splitlines()
    assert lines[1] == "| --- | --- | --- | ---: | ---: | --- |" + " ---: |" * 7
    assert {line.count("|") for line in lines} == {14}
    assert any("23 BatchNorm folded, 24 left" in note for note in notes(report))


def test_nothing_that_was_not_measured_is_shown(report: Report) -> None:
    bare = Report(report.conditions, ())
    assert (stages(bare), published(bare), plot(bare)) == (None, None, None)


def test_the_plot_has_a_dot_for_each_row_and_a_name_for_each_network(report: Report) -> None:
    text = plot(report)
    assert text is not None
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    dots = [dot for dot in root.iter(f"{space}circle") if dot.find(f"{space}title") is not None]
    assert len(dots) == 4
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for dot in dots:
        assert 0 < float(dot.attrib["cx"]) < width
        assert 0 < float(dot.attrib["cy"]) < height
    shown = [text.text for text in root.iter(f"{space}text")]
    assert shown.count("rtformer_slim gfa+ca 16x24") == 1
    assert shown.count("eager:fp32") == 1


def test_miou_stands_beside_the_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_data("camvid", 1, tmp_path / "data", n_val=2, size=(64, 96))
    network = create_model("rtformer_slim", 11, base_channels=8, spp_channels=8, head_channels=8)
    network.save_pretrained(tmp_path / "net")
    asked = Asked([str(tmp_path / "net")], backends=["reference", "eager"])
    report = run_benchmark(asked, replace(QUICK, sizes=[(64, 96)], min_parity=0), data=tmp_path / "data")
    assert report.conditions["input"] == "2 given image(s)"  # the data set's own
    assert all(row.miou is not None for row in report.networks)
    assert "mIoU" in capsys.readouterr().err


def test_sizes_as_text() -> None:
    assert parse_size("1024x2048") == (1024, 2048)
    for bad in ("5x", "x5", "5", "", "5x5x5", "ax5", "5 x 5", "-5x5", "5×5"):
        with pytest.raises(UserError, match=f"'{re.escape(bad)}' is not an input size: give height x width"):
            parse_size(bad)
