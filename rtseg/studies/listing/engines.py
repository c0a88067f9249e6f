"""The table of all registered engines: precisions, devices, what each takes, what to install, what it is.

The table is made from the registry, so it includes plug-ins. `rtseg list backends --details` prints it.
`python -m tools.tables engines` writes it into docs/benchmark.md.
"""

from functools import partial

from rtseg.deploy.engines import Engine, engine_classes
from rtseg.output.table import Column, Table
from rtseg.studies.listing.cells import Cells


def _columns(installed: str) -> list[Column]:
    return [
        Column("backend", left=True),
        Column("precisions", left=True, yields=1),
        Column("devices", left=True, yields=2),
        Column("takes", left=True, yields=3),
        Column(installed, left=True),
        Column("what it is", left=True, prose=True),
    ]


def _row(kind: type[Engine], installed: str, cells: Cells) -> list[str]:
    return [
        f"`{kind.backend}`",
        cells.text("precisions", lambda: " ".join(kind.precisions)),
        cells.text("devices", lambda: " ".join(kind.devices)),
        kind.takes,
        installed,
        cells.text("docstring", kind.about),
    ]


def _installed(kind: type[Engine]) -> str:
    return ", ".join(f"pip install '{package}'" for package in kind.missing()) or "yes"


def table(failures: list[str]) -> Table:
    """The table of all engines, plug-ins included, with whether they are installed here.

    Args:
        failures: gets one sentence for each cell whose answer failed, see `Cells`.
    """
    rows = []
    for kind in engine_classes():
        cells = Cells(f"engine '{kind.backend}'", failures)
        rows.append(_row(kind, cells.text("what is missing", partial(_installed, kind)), cells))
    return Table("Engines", _columns("installed"), rows)


def markdown() -> str:
    """The table for docs/benchmark.md: rtseg's own engines, and how they are installed."""
    rows = []
    for kind in engine_classes():
        packages = dict.fromkeys(package for package in kind.libraries.values() if package != "rtseg")
        if kind.__module__.startswith("rtseg."):
            installed = ", ".join(f"`pip install '{package}'`" for package in packages) or "with rtseg"
            rows.append(_row(kind, installed, Cells(kind.backend, [])))
    return Table("Engines", _columns("installed by"), rows).markdown().rstrip()
