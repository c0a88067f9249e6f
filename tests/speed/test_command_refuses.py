"""What `rtseg benchmark` refuses, and in what words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli import main
from rtseg.deploy.engines.eager import Eager
from rtseg.errors import UserError
from rtseg.scenes import make_data
from rtseg.speed.asked import Asked
from rtseg.speed.benchmark import Report
from rtseg.speed.command import run_benchmark
from rtseg.speed.results import refresh
from rtseg.speed.tables import headline, notes
from tests.helpers.benchmark_command import QUICK, wrong


def test_a_wrong_engine_gets_no_fps(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Eager, "classes", wrong)
    output = tmp_path / "speed.json"
    with pytest.raises(UserError, match="no row agrees with the reference, so that there is no FPS"):
        run_benchmark(Asked([checkpoint], backends=["eager", "eager:bf16"]), QUICK, output=output)
    printed = capsys.readouterr()
    assert "refused:" in printed.err
    last = json.loads(printed.out.splitlines()[-1])
    assert last == json.loads(output.read_text())
    assert "fps" not in json.dumps(last["networks"])
    assert not output.with_suffix(".svg").exists()
    refused = Report.from_json(output.read_text())
    for row in headline(refused).without_empty().texts():
        assert row[6:8] == ["refused", "—"]
    said = [note for note in notes(refused) if note.startswith("refused: ")]
    assert len(said) == len(refused.networks)
    assert all("of the pixels are the reference's" in note for note in said)
    capsys.readouterr()
    # Beside a row that is right, the figures are those of that row.
    found = run_benchmark(Asked([checkpoint], backends=["reference", "eager"]), QUICK)
    assert [r.class_map is None for r in found.networks] == [False, True]


def test_ones_own_parity(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", wrong)
    with pytest.raises(UserError, match="no row agrees"):
        run_benchmark(Asked([checkpoint], backends=["eager"]), replace(QUICK, min_parity=1))
    assert run_benchmark(Asked([checkpoint], backends=["eager"]), replace(QUICK, min_parity=0)).networks[0].class_map


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["rtformer_slm"],
            "'rtformer_slm' is not a checkpoint, exported file, model or rival. Did you mean 'rtformer_slim'",
        ),
        (["segformer_b2"], r"Did you mean 'segformer_b[01]'"),
        (["lost.onnx"], r"no such file: 'lost\.onnx'"),
        (["runs/lost.ckpt"], r"'runs/lost\.ckpt' does not exist"),
    ],
)
def test_unknown_networks_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_benchmark(Asked(names, backends=["eager"]), QUICK)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    for name, message in (("net.onnx", "is not a complete ONNX file"), ("net.ckpt", "damaged")):
        (tmp_path / name).write_bytes(b"some bytes of another kind")
        with pytest.raises(UserError, match=message):
            run_benchmark(Asked([str(tmp_path / name)]), QUICK)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"protocol": "foo"}, "protocol=foo is unknown. Known: ddrnet, rtseg"),
        ({"images": ["no-such-picture.png"]}, "no such image"),
    ],
)
def test_bad_options_are_refused(checkpoint: str, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, **bad)


@pytest.mark.parametrize(
    ("backend", "message"), [("tensorflow", "unknown engine 'tensorflow'"), ("eager:int8", "no precision 'int8'")]
)
def test_bad_backends_are_refused(checkpoint: str, backend: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_benchmark(Asked([checkpoint], backends=[backend]), QUICK)


@pytest.mark.parametrize("number", [0, -3])
def test_no_classes_are_refused(number: int) -> None:
    with pytest.raises(UserError, match="num_classes"):
        run_benchmark(Asked(["ddrnet_23_slim"], num_classes=number, backends=["eager"]), QUICK)


@pytest.mark.parametrize("existing", ["speed.json", "speed.svg"])
def test_an_existing_output_is_refused_before_anything_is_measured(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str
) -> None:
    monkeypatch.setattr("rtseg.speed.command.benchmark", lambda *_, **__: pytest.fail("it was measured"))
    (tmp_path / existing).write_text("mine")
    with pytest.raises(UserError, match=f"{existing}' exists; give another name"):
        run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, output=tmp_path / "speed.json")
    assert (tmp_path / existing).read_text() == "mine"


def test_an_output_below_a_file_is_refused(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "speed.json"):
        with pytest.raises(UserError, match="file"):
            run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, output=output)


def test_an_output_of_another_kind_is_refused(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"speed.txt' must end in .json, or be a folder"):
        run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, output=tmp_path / "speed.txt")


def test_data_that_do_not_fit_are_refused(checkpoint: str, tmp_path: Path) -> None:
    make_data("camvid", 1, tmp_path / "data", n_val=2, size=(64, 96))
    with pytest.raises(UserError, match=r"images are 64x96 .* give --input-size 64 96"):
        run_benchmark(Asked([checkpoint], backends=["eager"]), QUICK, data=tmp_path / "data")
    with pytest.raises(UserError, match=r"has 5 classes, the data set has 11"):
        run_benchmark(Asked([checkpoint], backends=["eager"]), replace(QUICK, sizes=[(64, 96)]), data=tmp_path / "data")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--also", "5x"], "error: '5x' is not an input size: give height x width, as in 1024x2048"),
        (["--min-parity", "101"], "error: min_parity=101.0 must be from 0 to 100"),
        (["--protocol", "foo"], "error: protocol=foo is unknown"),
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
        refresh(tmp_path, tmp_path)
