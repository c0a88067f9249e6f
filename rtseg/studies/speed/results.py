"""The speed tables of docs/results.md, made from the files that `rtseg benchmark -o FOLDER` has written.

Run as a program: python -m rtseg.studies.speed.results benchmarks/results docs/results.md
"""

import sys
from pathlib import Path

from rtseg.deploy.benchmark import Report
from rtseg.errors import UserError
from rtseg.output import replace_between
from rtseg.studies.speed.tables import headline, notes, published, stages

_BEGIN = "<!-- speed tables: made by `make benchmark` from benchmarks/results, do not edit -->"
_END = "<!-- end of the speed tables -->"


def render(results: Path) -> str:
    """All measurements below a folder of devices as Markdown, the newest of a device first.

    Raises:
        UserError: a file of another version.
    """
    parts = []
    for file in sorted(results.glob("*/*.json"), key=lambda file: (file.parent.name, file.name), reverse=True):
        try:
            report = Report.from_json(file.read_text())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"'{file}' was not written by this version of rtseg ({type(error).__name__}: {error}): measure again, "
                "or move it away"
            ) from None
        title = f"### {report.conditions['device']['name']}, {report.conditions['date'][:10]}"
        tables = [table.markdown() for table in (headline(report), stages(report), published(report)) if table]
        lines = "".join(f"- {note}\n" for note in notes(report))
        command = report.conditions.get("command")
        told = f"`{command}`; `{file.parent.name}/{file.name}`\n" if command else f"`{file.parent.name}/{file.name}`\n"
        parts.append("\n".join([title, "", told, *tables, lines]))
    return "\n".join(parts)


def refresh(results: Path, page: Path) -> None:
    """Writes the tables into a page, between its two comments.

    Raises:
        UserError: the page has no such comments; see `render`.
    """
    replace_between(page, _BEGIN, _END, render(results))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m rtseg.studies.speed.results RESULTS_FOLDER PAGE.md")
    try:
        refresh(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
