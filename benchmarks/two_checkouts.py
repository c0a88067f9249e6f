"""Is one checkout of this repository as fast as another? Each engine from image to class map, and training, in turns.

    git worktree add ../before COMMIT
    python -m benchmarks.two_checkouts ../before . [--cases eager openvino training ...] [--rounds 12] [-o FILE]

Each checkout works in a process of its own. While one works, the other waits; which begins changes with every round. So
heat, clock and other work meet both alike, and the ratio of a round is believable where its times are not. Both must
make the same class map. Below the rows stands the ratio of a checkout with itself: what this machine cannot tell apart.
The last line is JSON.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

CASES = ("reference", "eager", "compile", "onnxruntime", "onnxruntime-plain", "openvino", "training")
Turn = Callable[[float], tuple[float, int]]  # seconds -> (milliseconds of one run, runs)


def engine_turn(name: str, size: tuple[int, int]) -> tuple[Turn, str]:
    """One image through an engine, and a digest of its class map. Runs in a checkout, old or new."""
    try:
        from rtseg.deploy.engines import create_engine
    except ImportError:  # before November 2026
        from rtseg.deploy.runtime import create_runtime as create_engine  # type: ignore[no-redef]
    from rtseg.models import create_model

    torch.manual_seed(0)
    network = create_model("rtformer_slim", 19).eval()
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    engine = create_engine(name, network, (1, *size))

    def turn(seconds: float) -> tuple[float, int]:
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            engine(image)
            times.append(1000 * (time.perf_counter() - start))
        return float(np.median(times)), len(times)

    return turn, hashlib.sha256(engine(image).numpy().tobytes()).hexdigest()


def training_turn(size: tuple[int, int], batch_size: int = 4) -> tuple[Turn, str]:
    """Steps of Lightning's trainer on one batch in memory, and a digest of the first losses."""
    import lightning as L
    from torch.utils.data import DataLoader

    from rtseg.data.dataset import Sample
    from rtseg.training.module import SegmentationModule

    torch.manual_seed(0)
    batch = Sample(
        torch.randint(0, 256, (batch_size, 3, *size), dtype=torch.uint8),
        torch.randint(0, 19, (batch_size, *size)),
        "drawn",
        size,
    )
    module = SegmentationModule("rtformer_slim", 19, batch_size=batch_size)

    class Clock(L.Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.losses: list[float] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
            self.ends.append(time.perf_counter())
            self.losses.append(float(outputs["loss"]))

    def fit(steps: int) -> Clock:
        clock = Clock()
        trainer = L.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[clock],
        )  # fmt: skip
        trainer.fit(module, DataLoader(list(range(steps)), batch_size=None, collate_fn=lambda _: batch))  # type: ignore[arg-type]
        return clock

    first = fit(3)
    step_seconds = first.ends[-1] - first.ends[-2]

    def turn(seconds: float) -> tuple[float, int]:
        ends = fit(max(4, round(seconds / step_seconds) + 1)).ends
        return float(1000 * np.median(np.diff(ends))), len(ends) - 1

    return turn, str(first.losses)


def child(case: str, size: tuple[int, int], threads: int) -> None:
    """Answers a number of seconds on each line of the standard input with the time of one run, in JSON."""
    torch.set_num_threads(threads)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    turn, digest = training_turn(size) if case == "training" else engine_turn(case, size)
    turn(1.0)
    print(json.dumps(digest), file=answers)
    for line in sys.stdin:
        print(json.dumps(turn(float(line))), file=answers)


class Checkout:
    """A process of one checkout that has built a case and waits for its turns."""

    def __init__(self, folder: Path, case: str, size: tuple[int, int], threads: int) -> None:
        self.folder = folder
        command = [
            sys.executable, "-P", str(Path(__file__).resolve()), "--child", case,
            "--size", *map(str, size), "--threads", str(threads),
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve()), "OMP_WAIT_POLICY": "PASSIVE"}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.digest = self._answer()

    def __call__(self, seconds: float) -> float:
        """Milliseconds of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(self._answer()[0])

    def close(self) -> None:
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            self.errors.seek(0)
            sys.exit(f"error: {self.folder} ended:\n{self.errors.read()[-2000:]}")
        return json.loads(line)


def compare(case: str, folders: list[Path], size: tuple[int, int], rounds: int, threads: int, seconds: float) -> Any:
    """One row: both times, the ratio second / first with its quartiles, and that of the first with itself."""
    checkouts = [Checkout(folder, case, size, threads) for folder in (*folders, folders[0])]
    same = checkouts[0].digest == checkouts[1].digest
    times = np.empty((rounds, 3))
    for number in range(rounds):
        for index in np.roll(np.arange(3), number) if number % 2 else np.roll(np.arange(3), number)[::-1]:
            times[number, index] = checkouts[index](seconds)
    for checkout in checkouts:
        checkout.close()
    ratio, itself = times[:, 1] / times[:, 0], times[:, 2] / times[:, 0]
    low, middle, high = np.percentile(ratio, [25, 50, 75])
    before, after = np.median(times[:, :2], axis=0)
    return {
        "case": case, "before_ms": before, "after_ms": after, "ratio": middle, "quartiles": [low, high],
        "with_itself": float(np.median(itself)), "same_result": same,
    }  # fmt: skip


def main(args: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="the checkout before, the checkout after")
    parser.add_argument("--cases", nargs="+", default=list(CASES), help=f"of {', '.join(CASES)}, or openvino:bf16, …")
    parser.add_argument("--size", nargs=2, type=int, default=[512, 512], metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args(args)
    size = (arguments.size[0], arguments.size[1])
    if arguments.child:
        child(arguments.child, size, arguments.threads)
        return
    if len(arguments.folders) != 2 or not all((folder / "rtseg").is_dir() for folder in arguments.folders):
        sys.exit("error: give two checkouts of this repository, the one before and the one after")
    from rtseg.deploy.device import describe_device

    conditions = {
        "size": size, "rounds": arguments.rounds, "seconds": arguments.seconds, "threads": arguments.threads,
        "commits": [_commit(folder) for folder in arguments.folders], "torch": torch.__version__,
        "device": describe_device(torch.device("cpu")),
    }  # fmt: skip
    rows = []
    for case in arguments.cases:
        row = compare(case, arguments.folders, size, arguments.rounds, arguments.threads, arguments.seconds)
        low, high = row["quartiles"]
        result = "the same result" if row["same_result"] else "ANOTHER RESULT"
        print(
            f"{case:18} {row['before_ms']:8.1f} ms -> {row['after_ms']:8.1f} ms  ratio {row['ratio']:.3f} "
            f"({low:.3f} to {high:.3f}; with itself {row['with_itself']:.3f}), {result}",
            flush=True,
        )
        rows.append(row)
        text = json.dumps({"conditions": conditions, "rows": rows})
        if arguments.output is not None:  # after each row, so that a run that is cut loses none
            arguments.output.write_text(text + "\n")
    print(text)


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
