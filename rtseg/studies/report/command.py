"""`rtseg report`: one HTML page of a training, complete in itself."""

from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_target
from rtseg.studies.report.page import page
from rtseg.studies.report.run_folder import read_run


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the report of a training.

    The page leaves out what the folder does not have, and says how to make it. An older report is replaced.

    Args:
        run: the folder that `rtseg fit --output` wrote. The training may still be running.
        output: the HTML file; None for report.html in the run's folder.

    Returns:
        The file that was written.

    Raises:
        UserError: `run` is not a run folder, a file in it is damaged, or `output` is a folder or cannot be written.
    """
    run = Path(run)
    output = run / "report.html" if output is None else Path(output)
    found = read_run(run)
    if output.is_dir():
        raise UserError(f"'{output}' is a folder; give the name of a file, such as '{output / 'report.html'}'")
    with locked_target(output):
        write_whole(output, page(found))
    return output
