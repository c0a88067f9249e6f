"""No command contacts anybody, nor writes a number for this machine into the home folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r"sa_family=AF_INET6?.*?inet_(?:addr|pton)\([^\"]*\"([^\"]+)\"")
TRAIN = ["--model.options.base_channels=8", "--data.dataset=camvid", "--data.batch_size=3", "--data.crop_size=[32,48]",
         "--data.num_workers=1", "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--fps.seconds=0.1",
         "--fps.input_size=[64,64]"]  # fmt: skip


def test_the_switches_are_off_before_any_library_is_imported() -> None:
    program = """
import os, sys
for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE"):
    os.environ.pop(name, None)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "0"
import rtseg
assert os.environ["ORT_DISABLE_TELEMETRY"] == os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "0", "the environment's own choice"
for reporter in ("openvino_telemetry", "MNN.tools.utils.log"):
    try:
        __import__(reporter)
    except ImportError:
        continue
    sys.exit(f"{reporter} can be imported")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def contacted(trace: Path) -> set[str]:
    """Internet addresses that a process or any of its children turned to, in Python or not, other than its own."""
    found = {match[1] for line in trace.read_text(errors="replace").splitlines() if (match := ADDRESS.search(line))}
    return {address for address in found if address not in ("127.0.0.1", "::1", "0.0.0.0", "::")}


class Watched:
    """Runs commands with every system call that contacts somebody written down, in a home folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.trace = folder, folder / "home", folder / "trace"
        self.home.mkdir()
        # These, too, silence what is to be seen here.
        silent = ("CI", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE")
        kept = {name: value for name, value in os.environ.items() if name not in silent and "PYTEST" not in name}
        self.environment = kept | {"HOME": str(self.home), "XDG_CACHE_HOME": "", "COLUMNS": "200"}

    def run(self, *command: str) -> str:
        """What was printed."""
        strace = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(self.trace)]
        done = subprocess.run(
            [*strace, sys.executable, *command], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert contacted(self.trace) == set(), command
        return done.stdout + done.stderr

    def rtseg(self, *args: str) -> str:
        return self.run("-m", "rtseg", *args)

    def pretrain(self, *args: str) -> str:
        return self.run("-m", "pretrain", *args)

    def written_at_home(self) -> Sequence[str]:
        """Files outside the caches of compilers."""
        caches = (".triton", ".cache/numba", ".cache/torch", ".nv", ".config/matplotlib", ".cache/matplotlib")
        files = [path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if path.is_file()]
        return [name for name in files if not name.startswith(caches)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which sees compiled code's calls as well")
class TestEveryCommand:
    def test_the_watch_sees_a_look_up(self, tmp_path: Path) -> None:
        watched = Watched(tmp_path)
        with pytest.raises(AssertionError, match="set"):
            watched.run("-c", "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.1)\nexcept OSError: 0")

    def test_segmentation(self, tmp_path: Path, tiny_camvid: Path) -> None:
        watched, run, data = Watched(tmp_path), tmp_path / "run", f"--data.root={tiny_camvid}"
        best = str(run / "best.ckpt")
        watched.rtseg("fit", *TRAIN, data, f"--output={run}")
        watched.rtseg("validate", *TRAIN[:-2], data, "--ckpt_path", best)
        watched.rtseg("predict", best, str(tiny_camvid / "val"), "-o", str(run / "predictions"))
        watched.rtseg("export", best, "-o", str(run / "net.onnx"), "--input-size", "64", "64")
        said = watched.rtseg("benchmark", best, str(run / "net.onnx"), "--input-size", "64", "64", "--seconds", "0.1",
                             "--backend", "onnxruntime", "--backend", "openvino", "--backend", "eager",
                             "--backend", "mnn", "--image", str(tiny_camvid / "val"),
                             "-o", str(run / "benchmark.json"))  # fmt: skip
        assert "openvino" in said
        watched.rtseg("benchmark", best, "--backend", "openvino:int8", "--input-size", "64", "64", "--seconds", "0.1",
                      "--min-parity", "0", "--image", str(tiny_camvid / "val"))  # fmt: skip
        watched.rtseg("report", str(run))
        watched.rtseg("visualize", best, str(tiny_camvid / "val" / "000.png"), "-o", str(run / "sheets"))
        assert watched.written_at_home() == []

    def test_the_others(self, tmp_path: Path, tiny_camvid: Path) -> None:
        watched = Watched(tmp_path)
        watched.rtseg("make-data", "-o", str(tmp_path / "data"), "-n", "2", "--number-val", "2", "--size", "64", "64")
        for kind in ("models", "heads", "attentions", "losses", "datasets", "backends", "rivals"):
            watched.rtseg("list", kind)
        watched.rtseg("list", "backends", "--details")
        watched.rtseg("complexity", "-o", str(tmp_path / "complexity"))
        watched.rtseg("compare", "--attention", "gfa+ca", "-o", str(tmp_path / "compare"), "--input-size", "64", "64",
                      "--seconds", "0.1")  # fmt: skip
        rivals = watched.rtseg("list", "rivals").split()
        networks = [name for name in rivals if name.startswith(("segformer_b0", "smp_fpn", "lraspp"))]
        assert networks
        watched.rtseg("benchmark", *networks, "--backend", "eager", "--input-size", "64", "64", "--seconds", "0.1")
        assert watched.written_at_home() == []

    def test_pretraining(self, tmp_path: Path) -> None:
        watched, data = Watched(tmp_path), tmp_path / "data"
        watched.rtseg("make-data", "--layout", "imagenet", "-n", "12", "--number-val", "12", "-o", str(data),
                      "--size", "64", "64")  # fmt: skip
        watched.pretrain("make-shards", str(data), "-o", str(tmp_path / "shards"))
        watched.pretrain("check-data", str(tmp_path / "shards"))
        watched.pretrain("fit", "--model.name=rtformer_slim", "--model.options.base_channels=8",
                         f"--data.root={tmp_path / 'shards'}", "--data.batch_size=4", "--data.num_workers=1",
                         "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
                         f"--output={tmp_path / 'run'}")  # fmt: skip
        watched.pretrain("export", str(tmp_path / "run" / "last.ckpt"), "-o", str(tmp_path / "backbone"))
        assert watched.written_at_home() == []
