"""The results of `rtseg predict` as files for a label tool: `--labels`."""

from collections.abc import Sequence
from pathlib import Path

from rtseg.deploy.folder.coco import write_coco
from rtseg.deploy.folder.cvat import check_names, write_cvat
from rtseg.deploy.folder.labelme import write_labelme
from rtseg.deploy.folder.result_names import result_names
from rtseg.deploy.folder.sources import find_sources
from rtseg.terminal import counted


def check_classes(tool: str, names: Sequence[str]) -> None:
    """Raises: UserError where a tool cannot keep the name of a class, before anything is predicted."""
    if tool == "cvat":
        check_names(names)


def write_labels(tool: str, folder: Path, sources: Sequence[str | Path]) -> str:
    """Writes the files of a tool into the folder of results.

    Args:
        tool: coco, cvat or labelme.
        folder: with the record of the results.
        sources: what was predicted.

    Returns:
        What was written, a sentence for the user.

    Raises:
        UserError: see `write_coco`, `write_cvat` and `write_labelme`.
    """
    if tool == "coco":
        file = folder / "coco.json"
        return f"{file}: {counted(write_coco(file, folder), 'image')}, in COCO's format"
    if tool == "cvat":
        file = folder / "cvat.zip"
        return f"{file}: {counted(write_cvat(file, folder), 'image')}; import it in CVAT as 'Segmentation mask 1.1'"
    found, _ = find_sources(sources, folder)
    names, _ = result_names(found, folder)
    out = folder / "labelme"
    number = write_labelme(out, folder, {name: image for image, name in names.items()})
    return f"{out}: {counted(number, 'image')}; open it with `labelme FOLDER_OF_IMAGES --output {out}`"
