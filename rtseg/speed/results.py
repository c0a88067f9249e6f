"""The speed tables of docs/results/, one page for each file that `rtseg benchmark -o FOLDER` has written."""

from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.output.table import bullets
from rtseg.speed.benchmark import Report
from rtseg.speed.tables import headline, notes, published, stages

BEGIN = "<!-- speed tables: made from benchmarks/results by `make docs`, do not edit -->"
END = "<!-- end of the speed tables -->"


def refresh(results: Path, pages: Path) -> None:
    """Writes the tables of each measurement between the two comments of its page; a missing page is begun.

    The page of `DEVICE/RUN.json` is `RUN_DEVICE.md`.

    Args:
        results: folder that `rtseg benchmark -o` wrote to, with one folder for each device.
        pages: folder of the pages.

    Raises:
        UserError: a file of another version; a page without the comments.
    """
    for file in sorted(results.glob("*/*.json")):
        try:
            report = Report.from_json(file.read_text())
            tables = _tables(report, f"{file.parent.name}/{file.name}")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(
                f"'{file}' was not written by this version of rtseg ({type(error).__name__}: {error}): measure again, "
                "or move it away"
            ) from None
        page = pages / f"{file.stem}_{file.parent.name}.md"
        if not page.exists():
            title = f"# Speed on {report.conditions['device']['name']}, {report.conditions['date'][:10]}"
            page.write_text(f"{title}\n\n{BEGIN}\n{END}\n")
        replace_between(page, BEGIN, END, tables)


def _tables(report: Report, file: str) -> str:
    command = report.conditions.get("command")
    source = f"`{command}`\n\n" if command else ""
    found = [table for table in (headline(report), stages(report), published(report)) if table]
    tables = [f"**{table.title}**\n\n{table.markdown()}" for table in found]
    return "\n".join([f"{source}Document: `benchmarks/results/{file}`.\n", *tables, bullets(notes(report)).rstrip()])
