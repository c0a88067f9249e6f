"""What a run folder holds: results that a new training must not overwrite, and what a failed one left."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.training import nonfinite
from rtseg.training.checkpoint import read_header


def check_output(output: Path, ckpt_path: str | None, asked: dict[str, Any] | None) -> None:
    """Refuses a folder whose results would be overwritten.

    What a start leaves that failed or was killed before its first checkpoint is no result: its configuration, and a log
    without a score, from which nothing can be resumed.

    Args:
        asked: `read_header` of the checkpoint that is to be resumed.
    """
    if not output.is_dir():
        return
    if ckpt_path is not None and asked is not None and Path(ckpt_path).resolve().parent == output.resolve():
        newest, last = asked, output / "last.ckpt"
        if last.is_file() and not last.samefile(ckpt_path):
            with suppress(UserError):  # it is damaged: no later steps are lost
                newest = read_header(str(last)) or asked
        if newest["global_step"] > asked["global_step"]:
            raise UserError(
                f"resuming {ckpt_path} in its own folder would overwrite the later steps in {last}: "
                "resume that one, or choose another --output"
            )
        return
    checkpoints = _checkpoints(output)
    results = sorted(checkpoints)
    if _has_scores(output / "metrics.csv") and not list(output.glob(".*.ckpt-unfinished")):
        results.append("metrics.csv")
    if _is_users(output / "config.yaml"):
        results.append("config.yaml")
    if results:
        # best.ckpt is alone where a training was killed before its first last.ckpt was whole.
        resumable = [name for name in ("last.ckpt", "best.ckpt") if name in checkpoints]
        go_on = f"resume it with --ckpt_path {output / resumable[0]}, " if resumable else ""
        raise UserError(
            f"the run folder '{output}' holds results ({', '.join(results)}), which would be overwritten: {go_on}"
            "choose another --output, or move it away"
        )


def _checkpoints(output: Path) -> set[str]:
    """Those that a training can be resumed from; a step that was not finite is written again by its training."""
    return {path.name for path in output.glob("*.ckpt") if not path.name.startswith(".")} - {nonfinite.FILE}


def set_log_aside(output: Path) -> None:
    """After an error between the first validation and its checkpoint, as on a full disk.

    The log then has scores, and nothing can be resumed. It is kept under another name, so that the repaired command can
    start in the same folder.
    """
    log = output / "metrics.csv"
    if _has_scores(log) and not _checkpoints(output):
        log.replace(log.with_name("metrics_failed.csv"))


def remove_torn(output: Path) -> None:
    """What a training that was killed had not written whole: one that has nothing left to do would leave it there."""
    for torn in output.glob(".*-unfinished"):
        torn.unlink(missing_ok=True)


def _has_scores(log: Path) -> bool:
    """A validation is logged in it: a checkpoint follows each."""
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
