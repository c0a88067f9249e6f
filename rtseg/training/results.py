"""The results in a run folder, which no other training may overwrite. It imports nothing heavy."""

import csv
from pathlib import Path

from rtseg.errors import UserError

NONFINITE = "nonfinite.ckpt"  # a step that was not finite


def check_no_results(output: Path) -> None:
    """Refuses a folder whose results a new training would overwrite.

    What a start leaves that failed or was killed before its first checkpoint is no result: its configuration, and a log
    without a score, from which nothing can be resumed.

    Raises:
        UserError: there are results; the message says how to resume from them.
    """
    checkpoints = resumable(output)
    results = sorted(checkpoints)
    if has_scores(output / "metrics.csv") and not list(output.glob(".*.ckpt-unfinished")):
        results.append("metrics.csv")
    if _is_users(output / "config.yaml"):
        results.append("config.yaml")
    if results:
        # best.ckpt is alone where a training was killed before its first last.ckpt was whole.
        found = [name for name in ("last.ckpt", "best.ckpt") if name in checkpoints]
        go_on = f"resume it with --ckpt_path {output / found[0]}, " if found else ""
        raise UserError(
            f"the run folder '{output}' holds results ({', '.join(results)}), which would be overwritten: {go_on}"
            "choose another --output, or move it away"
        )


def resumable(output: Path) -> set[str]:
    """Checkpoints that a training can be resumed from; `NONFINITE` is written again by its training."""
    return {path.name for path in output.glob("*.ckpt") if not path.name.startswith(".")} - {NONFINITE}


def has_scores(log: Path) -> bool:
    """Whether a validation is logged in it: a checkpoint follows each."""
    try:
        with log.open(newline="") as lines:
            return any(
                value for row in csv.DictReader(lines) for key, value in row.items() if str(key).startswith("val/")
            )
    except (OSError, ValueError, csv.Error):
        return False


def _is_users(config: Path) -> bool:
    """Not written by a training, which begins it with Lightning's version."""
    return config.is_file() and not config.read_bytes().startswith(b"# lightning.pytorch==")
