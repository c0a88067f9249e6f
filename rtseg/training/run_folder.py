"""What a run folder holds: results that a new training must not overwrite, and what a failed one left."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.training.checkpoint import read_header
from rtseg.training.results import check_no_results, has_scores, resumable


def check_output(output: Path, ckpt_path: str | None, asked: dict[str, Any] | None) -> None:
    """Refuses a folder whose results would be overwritten, see `check_no_results`.

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
    check_no_results(output)


def set_log_aside(output: Path) -> None:
    """After an error between the first validation and its checkpoint, as on a full disk.

    The log then has scores, and nothing can be resumed. It is kept under another name, so that the repaired command can
    start in the same folder.
    """
    log = output / "metrics.csv"
    if has_scores(log) and not resumable(output):
        log.replace(log.with_name("metrics_failed.csv"))


def remove_torn(output: Path) -> None:
    """What a training that was killed had not written whole: one that has nothing left to do would leave it there."""
    for torn in output.glob(".*-unfinished"):
        torn.unlink(missing_ok=True)
