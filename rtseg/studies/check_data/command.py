"""`rtseg check-data`: what is wrong with a data set, and what it is like."""

import json
from dataclasses import dataclass
from pathlib import Path

from rtseg.data.findings.every import find_all
from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.studies.check_data.look import look
from rtseg.studies.check_data.source import open_source
from rtseg.studies.check_data.summary import summarise, written_in
from rtseg.studies.check_data.tables import show_summary
from rtseg.terminal import say


@dataclass
class Counts:
    """How many files were looked at, and of how many."""

    done: int = 0
    total: int = 0

    def set(self, done: int, total: int) -> None:
        """Called after each file."""
        self.done, self.total = done, total


@dataclass(frozen=True)
class Outputs:
    """Files to write; None: not."""

    json: Path | None = None
    html: Path | None = None
    yaml: Path | None = None


def check_data(name: str, root: Path, outputs: Outputs, *, channels: int | None, details: bool, counts: Counts) -> bool:
    """Checks a data set, prints what was found and writes it.

    Returns:
        Whether there is no fault.

    Raises:
        UserError: the data set cannot be opened, or a file cannot be written.
    """
    source = open_source(name, root, channels)
    seen = look(source, counts.set)
    findings = sorted([*source.findings, *find_all(seen)], key=lambda finding: finding.severity)
    summary = summarise(source, seen, findings)
    if outputs.json:
        write_whole(outputs.json, json.dumps(summary.as_json(), indent=2) + "\n")
    if outputs.html:
        from rtseg.studies.check_data.page import page

        write_whole(outputs.html, page(summary, source, seen))
    if outputs.yaml:
        if not summary.yaml:
            raise UserError(f"data set '{name}' needs no YAML, so --yaml {outputs.yaml} is not written; leave it out")
        write_whole(outputs.yaml, written_in(outputs.yaml.parent, summary.yaml, source.base))
    show_summary(summary, details)
    for file in (outputs.json, outputs.html, outputs.yaml):
        if file:
            say(f"Written: {file}")
    return not summary.faults
