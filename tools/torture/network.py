"""Who is contacted: every command under a watch of its system calls, compiled code's and its children's too.

Good is no connection and no name look-up, other than within this machine, and no new file in the home folder. The watch
is `strace`, so it sees Linux alone; the first case is a connection that it must see.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.process import ROOT
from tools.torture.worker import last_line

_CALLS = "connect,sendto,sendmsg,sendmmsg"
_ADDRESS = re.compile(r"sa_family=AF_INET6?.*?inet_(?:addr|pton)\([^\"]*\"([^\"]+)\"")
_OWN = ("127.0.0.1", "::1", "0.0.0.0", "::")
_FETCHED = "paddleseg/rtformer_slim_cityscapes"  # a name whose weights are here: they need no network
_CACHES = (".cache/rtseg", ".triton", ".cache/numba", ".cache/torch", ".nv", ".config/matplotlib", ".cache/matplotlib")
_SILENT = ("CI", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE")


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """The commands that use other libraries (all if not quick)."""
    if shutil.which("strace") is None:
        yield Outcome("the watch", False, "needs strace, which sees compiled code's calls as well: install it", 0.0)
        return
    home = folder / "home"
    home.mkdir()
    call = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.1)\nexcept OSError: pass"
    seen = _watched([sys.executable, "-c", call], home)
    yield Outcome("the watch itself", "192.0.2.1" in seen.said, f"sees {seen.said}", seen.seconds)
    run = materials.train(folder)
    materials.time_network(run)
    net = materials.export(run / "best.ckpt", folder / "net.onnx")
    materials.save_folder(run / "best.ckpt", home / ".cache/rtseg/weights" / _FETCHED)
    for k, (words, in_quick) in enumerate(_commands(run, net, folder).items()):
        if in_quick or not quick:
            python = [] if words[0] == "pretrain" else ["rtseg"]
            yield _watched([sys.executable, "-m", *python, *words], home, f"{k}: {' '.join(words[:3])}")


def _commands(run: Path, net: Path, folder: Path) -> dict[tuple[str, ...], bool]:
    """Words of each command, and whether a quick run has it."""
    best, images = str(run / "best.ckpt"), str(folder / "data" / "val")
    size = ("--input-size", *map(str, materials.SIZE))
    short = (*size, "--seconds", "0.05")
    engines = ("--backend", "onnxruntime", "--backend", "openvino", "--backend", "eager")
    image = next(Path(images).glob("*.png"))
    return {
        ("benchmark", best, str(net), *short, *engines): True,
        ("predict", best, images, "-o", str(folder / "shown")): True,
        ("predict", _FETCHED, images, "-o", str(folder / "shown by name")): True,
        ("predict", str(net), images, "-o", str(folder / "shown by onnx")): False,
        ("fit", *materials.fit_flags(folder / "data", folder / "again")[1:]): False,
        ("validate", *materials.fit_flags(folder / "data", folder / "x")[1:-1], "--ckpt_path", best): False,
        ("export", best, "-o", str(folder / "second.onnx"), *size): False,
        ("report", str(run)): False,
        ("visualize", best, str(image), "-o", str(folder / "sheets")): False,
        ("make-data", "-n", "2", "--number-val", "2", "--size", "64", "64", "-o", str(folder / "drawn")): False,
        ("benchmark", best, *short, "--backend", "openvino:int8", "--min-parity", "0", "--image", images): False,
        ("benchmark", "segformer_b0", *short, "--backend", "eager"): False,
        ("compare", "--attention", "gfa+ca", "-o", str(folder / "compared"), *short): False,
        ("complexity", "-o", str(folder / "complexity")): False,
        ("list", "rivals"): False,
        ("list", "backends", "--details"): False,
        ("pretrain", "list"): False,
    }


def _watched(command: Sequence[str], home: Path, case: str = "") -> Outcome:
    """With nothing in the environment that silences what is to be seen."""
    kept = {name: value for name, value in os.environ.items() if name not in _SILENT}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": "", "PYTHONPATH": str(ROOT)}
    trace = home.parent / "trace"
    watch = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-o", str(trace)]
    begin = time.perf_counter()
    end = subprocess.run(
        [*watch, *command], env=environment, capture_output=True, text=True, errors="backslashreplace", check=False
    )
    seconds = time.perf_counter() - begin
    lines = trace.read_text(errors="replace").splitlines()
    asked = sorted({match[1] for line in lines if (match := _ADDRESS.search(line))} - set(_OWN))
    files = [file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file()]
    files = [name for name in files if not name.startswith(_CACHES)]
    if asked:
        return Outcome(case, False, f"turns to {', '.join(asked)}", seconds)
    if files:
        return Outcome(case, False, f"writes {', '.join(files)} into the home folder", seconds)
    if end.returncode:
        return Outcome(case, False, f"exit status {end.returncode}: {last_line(end.stderr)}", seconds)
    return Outcome(case, True, "contacts nobody", seconds)
