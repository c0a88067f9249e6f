"""The table of weights that others have published: `rtseg list weights`, and docs/weights.md."""

from rtseg.errors import UserError
from rtseg.output.table import Column, Table
from rtseg.paths import cache_folder
from rtseg.published import LICENSE, PUBLISHED, Published, folder_of, seen

NOTES = ("mIoU is PaddleSeg's statement, and the licence that of its repository; docs/weights.md says more.",)


def _facts() -> list[Column]:
    return [
        Column("name", left=True),
        Column("model", left=True, yields=1),
        Column("data set", left=True),
        Column("mIoU", "%", "{:.2f}"),
        Column("MB", form="{:d}"),
        Column("source", left=True, groups=True),
        Column("licence", left=True, groups=True),
    ]


def _row(entry: Published) -> list[str | float | None]:
    return [
        f"`{entry.name}`",
        entry.model,
        "imagenet, a backbone" if entry.dataset == "imagenet" else entry.dataset,
        entry.miou,
        entry.megabytes,
        "PaddleSeg",
        LICENSE,
    ]


def overview() -> tuple[Table, list[str]]:
    """The table that `rtseg list weights` prints, with what is on this machine, and what stands below it."""
    cache = cache_folder()
    rows = [[*_row(entry), "yes" if folder_of(entry, cache).is_dir() else "no"] for entry in PUBLISHED.values()]
    table = Table("Published weights", [*_facts(), Column("here", left=True)], rows)
    return table, [*NOTES, f"What is fetched is kept in {cache / 'weights'}."]


def table(failures: list[str]) -> Table:
    """The addresses, the most that a file may have, and what was fetched, with a sentence for each damaged record."""
    rows: list[list[str | float | None]] = []
    for entry in PUBLISHED.values():
        try:
            record = seen(entry, cache_folder())
        except UserError as error:
            failures.append(str(error))
            record = {}
        base, path = entry.address.removesuffix(entry.path), entry.path.lstrip("/")
        digest = f"{record['sha256'][:16]}…" if record else None
        rows.append([base, f"path: {path}", f"`{entry.name}`", entry.most // 10**6, digest, record.get("date")])
    columns = [
        Column("from", left=True, groups=True),
        Column("path", left=True, groups=True),
        Column("name", left=True),
        Column("at most", "MB", "{:d}"),
        Column("SHA-256 seen", left=True),
        Column("on", left=True),
    ]
    return Table("Published weights", columns, rows)


def markdown() -> str:
    """The table for docs/weights.md."""
    return Table("Published weights", _facts(), [_row(entry) for entry in PUBLISHED.values()]).markdown().rstrip()
