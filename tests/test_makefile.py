"""What `make` prints, and what `make demo` would run; nothing is installed or trained."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

MAKEFILE = Path(__file__).parents[1] / "Makefile"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(folder: Path, *arguments: str) -> str:
    command = ["make", "--no-print-directory", "-f", str(MAKEFILE), "-o", "install", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_every_described_target(tmp_path: Path) -> None:
    printed = dict(re.findall(r"^([a-z0-9-]+)  +(\S.*)$", make(tmp_path), re.M))
    described = dict(re.findall(r"^([a-z0-9-]+):.*## (.*)$", MAKEFILE.read_text(), re.M))
    assert printed == described
    assert {"help", "install", "demo", "test", "train-camvid"} <= printed.keys()


def test_an_attention_is_handed_on_where_it_is_given(tmp_path: Path) -> None:
    """And left to the network otherwise: not every one has an attention to choose."""
    assert "--model.attention" not in make(tmp_path, "-n", "train-camvid", "MODEL=ddrnet_23_slim")
    printed = make(tmp_path, "-n", "train-camvid", "ATTN=sa", "DATA_DIR=data/camvid")
    assert "fit --config configs/rtformer_slim_camvid.yaml --model.attention=sa" in printed
    assert "--data.root=data/camvid" in printed
    assert "--auto" in printed.split()
    assert "ATTN=gfa+ca" in make(tmp_path)


def test_all_that_is_inserted_at_one_place_acts(tmp_path: Path) -> None:
    """A flag that is given twice holds its last value alone."""
    insert = "layer3=fa:basis=64:heads=1 fpn.*=fa layer3=sa stage?=nl"
    printed = make(tmp_path, "-n", "train-camvid", f"INSERT={insert}")
    flags = [word for word in shlex.split(printed.replace("\\\n", "")) if word.startswith("--model.insert")]
    assert flags == [f"--model.insert.{flag}" for flag in ("layer3=[fa:basis=64:heads=1,sa]", "fpn.*=fa", "stage?=nl")]
    found = [yaml.safe_load(flag.partition("=")[2]) for flag in flags]
    assert found == [["fa:basis=64:heads=1", "sa"], "fa", "nl"]
    assert "'--model.insert.fa'" in make(tmp_path, "-n", "train-camvid", "INSERT=fa")  # which fit says what to do about
    assert "--model.insert" not in make(tmp_path, "-n", "train-camvid")


def test_demo_does_what_is_missing_and_no_more(tmp_path: Path) -> None:
    """With a program in place of rtseg that writes its command down, and fails where the test says so."""
    program, demo = tmp_path / ".venv" / "bin" / "rtseg", tmp_path / "runs" / "demo"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nmkdir -p runs/demo/training\necho "$@" >> commands\n[ "$1" != "$(cat fails)" ]\n')
    program.chmod(0o755)

    def ran(fails: str) -> list[str]:
        (tmp_path / "fails").write_text(fails)
        (tmp_path / "commands").write_text("")
        if fails:
            with pytest.raises(AssertionError):
                make(tmp_path, "demo")
        else:
            make(tmp_path, "demo")
        return (tmp_path / "commands").read_text().splitlines()

    first = ran(fails="fit")
    assert [line.split()[0] for line in first] == ["make-data", "fit"]
    assert "--ckpt_path" not in first[-1]
    assert "--auto" in first[-1].split()
    (demo / "data").mkdir()
    (demo / "training" / "last.ckpt").touch()
    second = ran(fails="predict")
    assert [line.split()[0] for line in second] == ["fit", "validate", "benchmark", "predict"]
    assert "--ckpt_path runs/demo/training/last.ckpt" in second[0]
    (demo / "training" / "benchmark.json").touch()
    assert [line.split()[0] for line in ran(fails="")] == ["validate", "predict", "report"]
    *_, done, report, _, predict, page, serve = make(tmp_path, "demo").splitlines()
    assert "open runs/demo/report.html" in done
    commands = [line.split()[:2] for line in (report, predict, page, serve)]
    assert commands == [["rtseg", name] for name in ("report", "predict", "page", "serve")]


def test_a_stopped_demo_says_how_it_goes_on(tmp_path: Path) -> None:
    """Ctrl-C goes to make, its shells and the program, which ends as `rtseg fit` does."""
    program = tmp_path / ".venv" / "bin" / "rtseg"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\ntrap 'echo saved; exit 75' INT\ntouch begun\nfor k in 1 2 3 4 5 6 7 8 9; do sleep 1; done\n"
    )
    program.chmod(0o755)
    command = ["make", "-f", str(MAKEFILE), "-o", "install", "demo"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=30)
    assert running.returncode
    # Within another make, this one also says which folder it leaves.
    ends = [line for line in said.splitlines() if line in ("saved", "'make demo' again resumes from there")]
    assert ends == ["saved", "'make demo' again resumes from there"]


def test_demo_says_what_comes(tmp_path: Path) -> None:
    lines = [line for line in make(tmp_path, "-n", "demo").splitlines() if line.startswith("echo")]
    stages = [line for line in lines if " of 5: " in line]
    assert [re.findall(r"(\d) of 5: (\w+)", line)[0] for line in stages] == [
        ("1", "draw"), ("2", "train"), ("3", "score"), ("4", "time"), ("5", "segment"),
    ]  # fmt: skip
    assert "it says when it ends" in "".join(lines[: lines.index(stages[0])])


def test_an_installation_without_cuda(tmp_path: Path) -> None:
    """With a program in place of pip that writes its arguments down, and finds no build where the test says so."""
    pip = tmp_path / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "$@" >> pip-ran\n[ ! -e nothing-found ]\n')
    pip.chmod(0o755)
    (tmp_path / "constraints.txt").write_text("torch==1.2\ntorchmetrics==5\ntorchvision==3.4\n")
    (tmp_path / "pyproject.toml").touch()
    command = ["make", "-f", str(MAKEFILE), "install", "CPU=1", "INDEX=https://there", "PYTHON=true"]

    def installed() -> tuple[int, str, list[str]]:
        (tmp_path / "pip-ran").unlink(missing_ok=True)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, (tmp_path / "pip-ran").read_text().splitlines()

    (tmp_path / "nothing-found").touch()
    status, said, ran = installed()
    assert status
    assert len(ran) == 1
    assert "make install CPU=1 INDEX=" in said
    (tmp_path / "nothing-found").unlink()
    status, _, (_, installation) = installed()
    assert not status
    assert "--extra-index-url https://there torch==1.2+cpu torchvision==3.4+cpu --editable" in installation


def test_pretraining_and_its_check(tmp_path: Path) -> None:
    printed = make(tmp_path, "-n", "pretrain", "MODEL=stdc1", "DATA_DIR=data/shards")
    assert "-m pretrain fit --config pretrain/configs/rtformer_slim_in1k.yaml --model.name=stdc1" in printed
    assert "--output=runs/stdc1_in1k" in printed
    assert "--data.root=data/shards" in printed
    assert "--model.attention" not in printed
    assert "--model.attention=sa" in make(tmp_path, "-n", "pretrain", "ATTN=sa")
    with pytest.raises(AssertionError):
        make(tmp_path, "transfer-check", "DATA_DIR=data/camvid")  # nothing to pre-train on
    printed = make(tmp_path, "-n", "transfer-check", "IMAGES=data/imagenette_160", "DATA_DIR=data/camvid", "SEEDS=3")
    for words in ("pretrain fit", "pretrain export", "transfer-check runs/transfer/backbone --data data/camvid"):
        assert words in printed
    assert "--seeds 3" in printed


def test_a_finished_demo_is_kept(tmp_path: Path) -> None:
    report = tmp_path / "runs" / "demo" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("mine")
    with pytest.raises(AssertionError):
        make(tmp_path, "demo")
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]
    assert report.read_text() == "mine"
