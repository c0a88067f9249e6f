"""One training of a study, and what its folder says of it."""

import json
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg.errors import UserError
from rtseg.studies.runs.variant import Variant


@dataclass(frozen=True)
class Training:
    """One network, one seed; its folder is the run folder of `rtseg fit`."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def finished(self) -> bool:
        return (self.folder / "finished.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether there is something to go on from, or to keep."""
        return self.finished or (self.folder / "last.ckpt").is_file()

    def score(self, names: Collection[str]) -> dict[str, float]:
        """Scores at the last epoch, of a finished training. Not of the best epoch: choosing it by the very images that
        are scored would flatter.

        Raises:
            UserError: the file that holds them is damaged.
        """
        file = self.folder / "finished.json"
        try:
            found = json.loads(file.read_bytes())
            scores = {name: float(found[name]) for name in names}
            if not all(map(math.isfinite, scores.values())):
                raise ValueError("a score is not finite")
        except (ValueError, TypeError, KeyError) as error:
            what = f"no score '{error.args[0]}'" if isinstance(error, KeyError) else error
            raise UserError(
                f"'{file}' is damaged ({what}): remove it, and the same command reads the scores from the log of the "
                "training again"
            ) from None
        return scores

    def epoch(self) -> int:
        """The one that was logged last; reads the end of the log alone, since it is asked every second."""
        try:
            with (self.folder / "metrics.csv").open("rb") as file:
                column = file.readline().split(b",").index(b"epoch")
                file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - 4096))
                rows = [line.split(b",") for line in file.read().splitlines()[1:]]
        except (OSError, ValueError):  # nothing is logged yet, or the file is being replaced
            return 0
        return max((int(row[column]) for row in rows if len(row) > column and row[column].isdigit()), default=0)


def trainings(variants: Sequence[Variant], seeds: Sequence[int], folder: Path) -> list[Training]:
    """Seed by seed, so that a study that is cut short has every network."""
    return [Training(variant, seed, folder / f"{variant.slug}_seed{seed}") for seed in seeds for variant in variants]
