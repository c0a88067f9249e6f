"""Every registered engine in a table: precisions, devices, what it takes, what to install, what it is.

Read from the registry, so a new engine is in it by itself. `rtseg list backends --details` prints it, and
`python -m tools.tables engines` writes it into docs/benchmark.md.
"""

from rtseg.deploy.engines import Engine, engine_classes
from rtseg.output.table import Column, Table


def _columns(installed: str) -> list[Column]:
    return [
        Column("backend", left=True),
        Column("precisions", left=True, yields=1),
        Column("devices", left=True, yields=2),
        Column("takes", left=True, yields=3),
        Column(installed, left=True),
        Column("what it is", left=True, prose=True),
    ]


def _row(kind: type[Engine], installed: str) -> list[str]:
    return [
        f"`{kind.backend}`", " ".join(kind.precisions), " ".join(kind.devices), kind.takes, installed, kind.about()
    ]  # fmt: skip


def table() -> Table:
    """All engines, plug-ins' among them, and whether they are installed here."""
    kinds = engine_classes()
    missing = [", ".join(f"pip install '{package}'" for package in kind.missing()) for kind in kinds]
    rows = [_row(kind, packages or "yes") for kind, packages in zip(kinds, missing, strict=True)]
    return Table("Engines", _columns("installed"), rows)


def markdown() -> str:
    """The table for the page: rtseg's own engines, and how they are installed."""
    rows = []
    for kind in engine_classes():
        packages = dict.fromkeys(package for package in kind.libraries.values() if package != "rtseg")
        if kind.__module__.startswith("rtseg."):
            rows.append(_row(kind, ", ".join(f"`pip install '{package}'`" for package in packages) or "with rtseg"))
    return Table("Engines", _columns("installed by"), rows).markdown().rstrip()
