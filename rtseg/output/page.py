"""HTML pages from templates: whatever is put into one is text, unless it is `Markup`."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rtseg.output.chart import Chart, inline
from rtseg.terminal import visible


def render(template: Path, **values: Any) -> str:
    """A page made from a template. Characters that a page must not contain are written as escapes.

    Args:
        template: the template's file; the templates that it includes lie beside it.
        values: the names that it uses. A name that is missing is an error of this project, not the user's.
    """
    pages = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return visible(pages.get_template(template.name).render(**values))


def drawing(chart: Chart) -> Markup:
    """A chart for a page that has `rtseg.output.chart.STYLE`. The chart has escaped its texts itself."""
    return Markup(inline(chart))
