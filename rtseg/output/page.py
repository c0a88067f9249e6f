"""HTML pages from templates: whatever is put into one is text, unless it is `Markup`."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rtseg.output.chart import Chart, inline
from rtseg.terminal import visible


def render(template: Path, **values: Any) -> str:
    """A page, in which characters that no page may hold are written as escapes.

    Args:
        template: the file; those that it includes lie beside it.
        values: what it names. A name that is missing is an error (of ours).
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
    """A chart inside a page, which needs `rtseg.output.chart.STYLE`; the chart has escaped its texts itself."""
    return Markup(inline(chart))
