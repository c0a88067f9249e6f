"""Two commands in one folder at once: one finishes whole, the other is told who is there."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from tools.torture import materials
from tools.torture.damage import digest_onnx
from tools.torture.outcome import Outcome
from tools.torture.process import environment
from tools.torture.worker import last_line

_STAGGERS = (0.0, 0.4, 1.5)  # seconds between the two starts


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """Each pair, started together (and one after the other if not quick)."""
    run = materials.train(folder)
    data, best = folder / "data", str(run / "best.ckpt")
    drawn = ["make-data", "-n", "40", "--number-val", "2", "--size", "96", "128"]
    alone = [_tree(_made(drawn, folder / f"seed{seed}", seed)) for seed in (1, 2)]
    for k, stagger in enumerate(_STAGGERS[:1] if quick else _STAGGERS):
        target = folder / f"fit{k}"
        fit = materials.fit_flags(data, target)
        yield _pair("fit", fit, fit, stagger, partial(_loads, target))
        target = folder / f"drawn{k}"
        first, second = ([*drawn, "--seed", str(seed), "-o", str(target)] for seed in (1, 2))
        yield _pair("make-data", first, second, stagger, partial(_of_one, target, alone))
        target = folder / f"net{k}.onnx"
        export = ["export", best, "-o", str(target), "--input-size", *map(str, materials.SIZE)]
        yield _pair("export", export, export, stagger, partial(_reads, target))
        target = folder / f"shown{k}"
        predict = ["predict", best, str(data / "train"), "-o", str(target)]
        yield _pair("predict", predict, predict, stagger, partial(_counted, target, 6 * 3 + 2))


def _pair(name: str, first: list[str], second: list[str], stagger: float, whole: Callable[[], str | None]) -> Outcome:
    """Both commands, and what is wrong with what they left."""
    begin = time.perf_counter()
    processes = []
    for words in (first, second):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "rtseg", *words], env=environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        time.sleep(stagger)
    errors = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    case = f"{name} twice, {stagger:g} s apart"
    seconds = time.perf_counter() - begin
    refused = next((last_line(error) for error, code in zip(errors, codes, strict=True) if code == 2), "")
    if sorted(codes) != [0, 2]:
        ends = "; ".join(f"{code}: {last_line(error)}" for code, error in zip(codes, errors, strict=True))
        return Outcome(case, False, ends, seconds)
    if any("Traceback" in error for error in errors):
        return Outcome(case, False, "a traceback", seconds)
    if wrong := whole():
        return Outcome(case, False, wrong, seconds)
    return Outcome(case, True, refused, seconds)


def _made(words: list[str], folder: Path, seed: int) -> Path:
    from rtseg.cli import main

    materials.quietly(main, *words, "--seed", str(seed), "-o", str(folder))
    return folder


def _tree(folder: Path) -> str:
    """Digest of all files below a folder, hidden ones left out."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _loads(run: Path) -> str | None:
    torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    rows = (run / "metrics.csv").read_text().splitlines()
    return None if len({row.count(",") for row in rows}) == 1 else "metrics.csv has rows of two lengths"


def _of_one(folder: Path, alone: list[str]) -> str | None:
    return None if _tree(folder) in alone else "files of both"


def _reads(file: Path) -> str | None:
    digest_onnx(file)
    return None


def _counted(folder: Path, number: int) -> str | None:
    found = len([file for file in folder.iterdir() if not file.name.startswith(".")])
    return None if found == number else f"{found} results, not {number}"
