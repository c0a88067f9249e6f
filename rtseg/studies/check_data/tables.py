"""The summary in a terminal."""

from collections.abc import Sequence

from rtseg.data.findings.finding import Severity, percent
from rtseg.output.table import Column, Table, show
from rtseg.studies.check_data.summary import Summary
from rtseg.terminal import counted, say

_MOST_CLASSES = 40  # in a terminal; the commonest and the rarest
_MOST_WEIGHTS = 12


def show_summary(summary: Summary, details: bool) -> None:
    """Prints what the data are like, then the findings, the worst first.

    Args:
        details: notes too; else how many there are.
    """
    for name, facts in summary.splits.items():
        size = f"; median image {facts.median[0]}x{facts.median[1]} (height x width)" if facts.median else ""
        sizes = f", {counted(len(facts.sizes), 'size')}" if len(facts.sizes) > 1 else ""
        say(f"{name}: {counted(facts.pairs, 'pair')}{size}{sizes}; {percent(facts.ignored)} of the pixels are ignored.")
    show(_classes(summary))
    if summary.mean:
        say(f"Mean of the channels {summary.mean}, standard deviation {summary.std} (levels / 255).")
    weights = [one.weight for one in summary.classes]
    if len(weights) <= _MOST_WEIGHTS:
        say(f"Class weights of `class_weights: auto`: {weights}.")
    for reason in summary.proposed:
        say(f"Found: {reason}.")
    changed = any(finding.yaml for finding in summary.findings)
    if summary.yaml and (summary.proposed or changed):
        say(f"\nThe YAML to use{', with what is repaired below' if changed else ''}:\n\n{summary.yaml}")
    say("\n".join(_findings(summary, details)))


def _classes(summary: Summary) -> Table:
    names = list(summary.splits)
    classes: Sequence = sorted(summary.classes, key=lambda one: -one.shares[names[0]])
    title = "Classes, by their share of the labelled pixels"
    if len(classes) > _MOST_CLASSES:
        title += f"; {len(classes) - _MOST_CLASSES} between the commonest and the rarest are left out (--json has all)"
        classes = [*classes[: _MOST_CLASSES // 2], *classes[-_MOST_CLASSES // 2 :]]
    columns = [Column("class", left=True), Column("number", yields=3)]
    for name in names:
        columns += [Column(name, "%", form="{:.2f}"), Column(f"{name} masks", yields=1)]
    columns.append(Column("weight", form="{:.2f}", yields=2))
    rows = [
        [
            one.name,
            one.id,
            *(cell for name in names for cell in (100 * one.shares[name], one.masks[name])),
            one.weight,
        ]
        for one in classes
    ]
    return Table(title, columns, rows)


def _findings(summary: Summary, details: bool) -> list[str]:
    lines = []
    notes = [one for one in summary.findings if one.severity == Severity.NOTE]
    for finding in summary.findings:
        if finding.severity != Severity.NOTE or details or len(notes) <= 3:
            lines.append(f"{finding.severity.word.capitalize()}: {finding.text}.")
    numbers = {severity: sum(one.severity == severity for one in summary.findings) for severity in Severity}
    told = ", ".join(counted(number, severity.word) for severity, number in numbers.items())
    return [*lines, f"{told}." if any(numbers.values()) else "No fault, no caution, no note."]
