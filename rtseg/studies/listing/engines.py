"""The table of all registered engines: precisions, devices, what each takes, what to install, what it is.

The table is made from the registry, so it includes plug-ins. `rtseg list backends --details` prints it, and
`rtseg list backends` which of them run on this machine.
`python -m tools.tables engines` writes it into docs/benchmark.md.
"""

from collections.abc import Sequence
from functools import partial

import torch

from rtseg.deploy.device import is_present
from rtseg.deploy.engines import Engine, engine_classes
from rtseg.errors import UserError
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
    return _install(kind.missing()) or "yes"


def _install(packages: Sequence[str]) -> str:
    return ", ".join(f"pip install '{package}'" for package in packages)


def overview() -> tuple[Table, list[str]]:
    """The table that `rtseg list backends` prints: which engines run on this machine; and what stands below it."""
    notes: list[str] = []
    rows = []
    for kind in engine_classes():
        cells = Cells(f"engine '{kind.backend}'", notes)
        runs, why_not = cells.ask("whether it runs here", partial(_here, kind)) or ("", "")
        rows.append([f"`{kind.backend}`", runs, why_not])
    columns = [
        Column("backend", left=True),
        Column("runs here", left=True),
        Column("what is missing", left=True, prose=True),
    ]
    return Table("Engines", columns, rows), [*notes, "Precisions and devices: rtseg list backends --details"]


def _here(kind: type[Engine]) -> tuple[str, str]:
    """Where its default precision runs, or "no"; then what keeps it from running, or other precisions."""
    devices = [device for device in kind.devices if is_present(device)]
    if not devices:
        return "no", f"needs {' or '.join(kind.devices)}, which PyTorch does not find here"
    runs, reasons = [], []
    for device in devices:
        try:
            kind.check(next(iter(kind.precisions)), torch.device(device))
            runs.append(device)
        except UserError as error:
            reasons.append(str(error))
    if not runs:
        return "no", reasons[0]
    lacks = kind.missing()
    return f"on {' and '.join(runs)}", f"for all precisions {_install(lacks)}" if lacks else ""


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
