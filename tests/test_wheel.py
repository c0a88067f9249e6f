"""What is installed has every file that the commands need, and they run from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", "77")  # what pyproject.toml builds with; older ones do not read its licence

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
NETWORK = [f"--model.options.{name}_channels=8" for name in ("base", "head", "spp")]
SHORT = ["--data.batch_size=4", "--data.crop_size=[64,64]", "--data.num_workers=0", "--trainer.log_every_n_steps=1"]
STEPS = ["--trainer.max_steps=2", "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=2"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution of this checkout, and the wheel that is made of it alone."""
    folder = tmp_path_factory.mktemp("built")
    unbuilt = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "runs", ".*")
    for name in ("rtseg", "pretrain", "configs", "tests", "tools"):
        # rtseg/studies/runs is a package, and no run folder
        ignored = None if name == "rtseg" else unbuilt
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    sdist = build("build_sdist", folder / "source", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return sdist, build("build_wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


def build(kind: str, source: Path, folder: Path) -> Path:
    """As pip does it, in a process whose folder is the source."""
    subprocess.run([sys.executable, "-c", BUILD, kind, str(folder)], cwd=source, check=True, capture_output=True)
    (found,) = folder.glob("*.tar.gz" if kind == "build_sdist" else "*.whl")
    return found


def test_the_wheel_has_every_file_and_no_other(built: tuple[Path, Path]) -> None:
    wanted = {
        str(file.relative_to(ROOT))
        for package in ("rtseg", "pretrain")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".md" and "__pycache__" not in file.parts
    }
    configs = {str(file.relative_to(ROOT / "configs")) for file in (ROOT / "configs").rglob("*.yaml")}
    assert {"rtformer_slim_demo.yaml", "data/ade20k.yaml", "trainer/steps_160k.yaml"} <= configs
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == wanted | {f"rtseg/shipped_configs/{name}" for name in configs}
    with tarfile.open(built[0]) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert sources >= wanted | {f"configs/{name}" for name in configs} | {"pyproject.toml", "setup.py"}


def test_the_wheels_configurations_are_found(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path / "site")
    program = "import sys; from rtseg.configs import *; print(find_config(sys.argv[1]), *list_configs(), sep='\\n')"
    command = [sys.executable, "-c", program, "configs/rtformer_slim_camvid.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    file, *names = done.stdout.splitlines()
    assert Path(file) == tmp_path / "site" / "rtseg" / "shipped_configs" / "rtformer_slim_camvid.yaml"
    assert names == sorted(file.stem for file in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.slow
def test_every_command_runs_from_an_empty_folder(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In a virtual environment of its own, whose other packages are those that are installed here."""
    home, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(program: str, *args: str) -> str:
        command = [str(programs / program), *args]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("python", "-m", "pip", "install", "--no-deps", "--no-index", str(built[1]))
    site = run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A path in a .pth file gives the packages there, but not an editable installation of rtseg.
    Path(site, "parent.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    assert run("python", "-c", "import rtseg; print(rtseg.__file__)").startswith(str(tmp_path))

    assert "rtformer_slim_demo " in run("rtseg", "list", "configs")
    data, training = "runs/demo/data", folder / "runs" / "rtformer_slim_demo"
    run("rtseg", "make-data", "--layout", "camvid", "-n", "8", "--number-val", "4", "--size", "64", "64", "-o", data)
    printed = run("rtseg", "fit", "--config", "rtformer_slim_demo", "--auto", *NETWORK, *SHORT, *STEPS)
    assert "--auto chooses --trainer.precision=" in printed
    best = str(training / "best.ckpt")
    for command, config in (("validate", "rtformer_slim_demo.yaml"), ("test", "configs/rtformer_slim_demo.yaml")):
        assert "mIoU" in run("rtseg", command, "--config", config, "--ckpt_path", best, *NETWORK)
    run("rtseg", "predict", best, f"{data}/val", "-o", "masks")
    assert len(list(folder.glob("masks/*_overlay.jpg"))) == 4
    run("rtseg", "export", best, "-o", "net.onnx", "--input-size", "64", "64")
    run("rtseg", "predict", "net.onnx", f"{data}/val", "-o", "masks_of_export")
    timed = ["--seconds", "0.05", "--input-size", "64", "64", "-o", "runs/compare"]
    run("rtseg", "compare", "--attention", "gfa+ca", "--data", data, "--epochs", "1", *timed, *SHORT[:3])
    assert "mIoU" in (folder / "runs" / "compare" / "compare.md").read_text()

    assert "transfer-check" in run("python", "-m", "pretrain", "--help")
    drawn = ["-n", "24", "--number-val", "12", "--size", "64", "64", "-o", "things"]
    run("rtseg", "make-data", "--layout", "imagenet", *drawn)
    small = [
        "--model.optim.warmup_epochs=0",
        "--data.root=things",
        "--data.batch_size=4",
        "--data.num_workers=0",
        "--data.augment.image_size=32",
    ]
    run("python", "-m", "pretrain", "fit", "--config", "rtformer_slim_imagenette", "--auto", NETWORK[0], *small, *STEPS)
    assert (folder / "runs" / "rtformer_slim_imagenette" / "last.ckpt").is_file()
