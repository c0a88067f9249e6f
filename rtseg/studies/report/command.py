"""`rtseg report`: one HTML page of a training, complete in itself."""

from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_target
from rtseg.studies.report.page import page
from rtseg.studies.report.run_folder import read_run


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the page. What the folder does not hold is left out, and the page says how to make it.

    A report that exists is written anew: everything in it comes from the run.

    Args:
        run: folder that `rtseg fit --output` wrote; may still be training.
        output: the HTML file; None for report.html in the run's folder.

    Returns:
        The file written.

    Raises:
        UserError: `run` is no run folder, a file in it is damaged, or `output` is a folder or cannot be written.
    """
    run = Path(run)
    output = run / "report.html" if output is None else Path(output)
    found = read_run(run)
    if output.is_dir():
        raise UserError(f"'{output}' is a folder; give the name of a file, such as '{output / 'report.html'}'")
    with locked_target(output):
        write_whole(output, page(found))
    return output
