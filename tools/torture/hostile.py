"""Hostile inputs: images, names, masks, YAML, cards, checkpoints, pickles, tables and graphs.

Good is an end in order: a result, or a sentence; no traceback, at most 10 s of processor time, less than 1 GB of memory
beyond what the process had, and nothing that the input asked for was run: a file that each would leave is not there.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tools.torture import materials
from tools.torture.case import Case
from tools.torture.images import claims, image_cases, name_cases, oddities
from tools.torture.outcome import Outcome
from tools.torture.tables import report_cases
from tools.torture.texts import card_cases, config_cases, dataset_cases, mask_cases
from tools.torture.weights import checkpoint_cases, graph_cases, paddle_cases
from tools.torture.worker import Worker, command


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """All cases, or every sixth."""
    run = materials.train(folder)
    materials.save_folder(run / "best.ckpt", folder / "weights")
    materials.export(run / "best.ckpt", folder / "net.onnx")
    materials.time_network(run)
    cases = folder / "cases"
    canary = folder / "canary"
    with Worker(setup=warm_up) as worker:
        good = ["predict", str(run / "best.ckpt"), str(folder / "data" / "val"), "-o", str(folder / "predicted")]
        ready = worker.run(command, *good, clock=300)
        if ready.status != 0:
            raise RuntimeError(f"a good image is not predicted: {ready.said}")
        for number, case in enumerate(_every(run, cases, canary)):
            if not quick or number % 6 == 0:
                answer = worker.run(case.function, *case.arguments)
                fault = "runs the code of the file" if canary.exists() else case.fault(answer)
                yield answer.outcome(case.name, fault)
                canary.unlink(missing_ok=True)
            shutil.rmtree(cases)
            cases.mkdir()


def warm_up() -> None:
    """Imports that no case should be charged with."""
    import onnx  # noqa: F401

    import rtseg.deploy.predictor
    import rtseg.training.cli  # noqa: F401


def _every(run: Path, folder: Path, canary: Path) -> Iterator[Case]:
    folder.mkdir()
    checkpoint, weights = run / "best.ckpt", run.parent / "weights"
    yield from image_cases(checkpoint, folder)
    yield from name_cases(checkpoint, folder)
    yield from mask_cases(folder, claims() | oddities())
    yield from dataset_cases(folder, canary)
    yield from config_cases(run, folder, canary)
    yield from card_cases(weights, folder, canary)
    yield from checkpoint_cases(run, folder, canary)
    yield from paddle_cases(folder, canary)
    yield from graph_cases(run.parent / "net.onnx", folder)
    yield from report_cases(run, folder)
