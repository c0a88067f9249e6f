"""Class maps as the test servers of benchmarks take them: `rtseg predict --submission`.

Cityscapes' evaluation program looks for one PNG an image, in any sub-folder, that is called
`<city>_<sequence>_<frame>*.png` and holds label ids. The Scene Parsing Challenge (ADE20K) wants `ADE_test_<number>.png`
with 1..150. Both want them at the image's own size. Such files are the class maps that `rtseg predict` writes of images
with their own names, so what is left is to see that nothing else is written and that everything fits.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rtseg.checks import check_one_of
from rtseg.data import ade20k, cityscapes
from rtseg.data.dataset import LabelSpace
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard


@dataclass(frozen=True)
class Submission:
    """What a server takes.

    Attributes:
        title: of the data set.
        labels: its classes; files hold their ids.
        names: what names without the ending look like.
        example: such a name.
    """

    title: str
    labels: LabelSpace
    names: re.Pattern[str]
    example: str

    def check(self, card: ModelCard) -> None:
        """Raises: UserError where the network's classes are others, or written otherwise."""
        wanted = self.labels
        if card.class_names == wanted.names and card.ids == wanted.ids:
            return
        shown = ", ".join(card.class_names[:3]) + ", …" if card.class_names else "without names"
        raise UserError(
            f"the test server of {self.title} takes its {len(wanted.names)} classes ({', '.join(wanted.names[:3])}, …) "
            f"as ids {wanted.ids[0]} to {wanted.ids[-1]}, and this network has {card.num_classes} ({shown}): give one "
            f"that was trained on {self.title}, or leave --submission out"
        )

    def check_names(self, names: Iterable[str]) -> None:
        """Raises: UserError where an image is called so that the server would not find it, or would find it twice."""
        found: dict[str, str] = {}
        for name in names:
            match = self.names.match(name.rpartition("/")[2])
            if match is None:
                raise UserError(
                    f"image '{name}' has no name that the test server of {self.title} knows, such as '{self.example}': "
                    "give the images of the test set, and no others"
                )
            if (first := found.setdefault(match[0], name)) is not name:
                raise UserError(
                    f"images '{first}' and '{name}' both stand for '{match[0]}' on the test server of {self.title}; "
                    "leave one out"
                )


def check_folder(folder: Path, names: Iterable[str]) -> None:
    """Raises: UserError where a folder holds other .png files than the class maps of these names."""
    wanted = {folder / f"{name}.png" for name in names}
    if others := sorted(path for path in folder.rglob("*.png") if path not in wanted):
        raise UserError(
            f"'{folder}' holds other .png files ('{others[0].relative_to(folder)}'), which a test server would take "
            "for class maps: give an empty folder, or remove them"
        )


_KNOWN = {
    "cityscapes": Submission(
        "Cityscapes", cityscapes.LABELS, re.compile(r"[a-zA-Z-]+_\d{6}_\d{6}(?!\d)"), "berlin_000000_000019_leftImg8bit"
    ),
    "ade20k": Submission("ADE20K", ade20k.LABELS, re.compile(r"ADE_(test|val)_\d{8}$"), "ADE_test_00000001"),
}


def find_submission(name: str) -> Submission:
    """Raises: UserError where no server of that name is known."""
    check_one_of("--submission", name, _KNOWN)
    return _KNOWN[name]
