"""The page of a check: no script, no font, no request."""

from pathlib import Path

from markupsafe import Markup

from rtseg.data.findings.finding import Severity, percent
from rtseg.data.findings.looks import Seen
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.output.page import render
from rtseg.page.network import STATIC
from rtseg.studies.check_data.sheet import samples, suspects
from rtseg.studies.check_data.source import Source
from rtseg.studies.check_data.summary import Summary

_FILES = 50  # listed below a finding


def page(summary: Summary, source: Source, seen: Seen) -> str:
    """The HTML of a check."""
    colors = distinct_colors(source.labels.palette)
    return render(
        Path(__file__).with_name("page.html"),
        style=Markup((STATIC / "base.css").read_text(encoding="utf-8")),
        summary=summary,
        numbers={severity.word: sum(one.severity == severity for one in summary.findings) for severity in Severity},
        most_files=_FILES,
        colors=["#{:02x}{:02x}{:02x}".format(*color) for color in colors],
        samples=samples(source, seen),
        suspects=suspects(source, seen, summary.findings),
        percent=percent,
    )
