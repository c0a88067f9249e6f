"""The speed tables of docs/results.md, made from the files that `rtseg benchmark -o FOLDER` has written;
`python -m tools.tables speed` writes them into the page.
"""

from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.output.table import bullets
from rtseg.speed.benchmark import Report
from rtseg.speed.tables import headline, notes, published, stages

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
            parts.append(_section(file))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(
                f"'{file}' was not written by this version of rtseg ({type(error).__name__}: {error}): measure again, "
                "or move it away"
            ) from None
    return "\n".join(parts)


def _section(file: Path) -> str:
    report = Report.from_json(file.read_text())
    title = f"### {report.conditions['device']['name']}, {report.conditions['date'][:10]}"
    command = report.conditions.get("command")
    told = f"`{command}`; " if command else ""
    tables = [table.markdown() for table in (headline(report), stages(report), published(report)) if table]
    return "\n".join([title, "", f"{told}`{file.parent.name}/{file.name}`\n", *tables, bullets(notes(report))])


def refresh(results: Path, page: Path) -> None:
    """Writes the tables into a page, between its two comments.

    Raises:
        UserError: the page has no such comments; see `render`.
    """
    replace_between(page, _BEGIN, _END, render(results))
