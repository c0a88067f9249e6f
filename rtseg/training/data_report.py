"""What a user should know of the data before hours are spent on them."""

from collections.abc import Sequence

from rtseg.data.dataset import IGNORE, IdDecoder, SegmentationDataset
from rtseg.data.findings.brief import find_briefly, look_briefly
from rtseg.data.findings.finding import FAULT, NOTE, percent
from rtseg.data.survey import Survey, shared_images
from rtseg.errors import UserError

_SHOWN = 12  # classes in a line
_NAMED = 5  # absent classes in a warning
_MUCH_MEMORY = 8  # GB
_BYTES = 16  # of a class at a pixel while an image is scored: logits, and what the loss makes of them


def describe(survey: Survey, validation: SegmentationDataset | None) -> list[str]:
    """How many images there are, which classes occur, and what seems wrong, a line each.

    Raises:
        UserError: nothing can be learnt from the masks.
    """
    check_labels(survey)
    size = f"median image {survey.size[0]}x{survey.size[1]} (height x width)"
    validated = "" if validation is None else f", {len(validation):,} validation pairs"
    lines = [f"{len(survey.dataset):,} training pairs{validated}; {size}."]
    ignored = f"; ignored: {percent(survey.ignored_share)} of all pixels" if survey.ignored else ""
    lines.append(f"Classes in {survey.masks}: {_classes(survey)}{ignored}.")
    if fault := _one_class(survey):
        lines.append(f"Caution: {fault}.")
    elif survey.absent:
        lines.append(_absent(survey))
    gigabytes = _BYTES * len(survey.dataset.labels.names) * survey.size[0] * survey.size[1] / 1e9
    if validation is not None and gigabytes > _MUCH_MEMORY:
        lines.append(
            f"Caution: scoring an image of {survey.size[0]}x{survey.size[1]} takes about {gigabytes:.0f} GB of memory, "
            "since each class has a number at each pixel. Make images and masks smaller (masks by nearest neighbour)."
        )
    if validation is not None and (both := shared_images(survey.dataset, validation)):
        lines.append(
            f"Caution: {both:,} of {len(validation):,} validation images are training images too, so the score says "
            "nothing about new images. Keep them apart."
        )
    return lines


def describe_findings(splits: Sequence[SegmentationDataset]) -> list[str]:
    """What `rtseg check-data` would say of some of the masks, a line each.

    Args:
        splits: the training images, and those for validation if there are any.

    Raises:
        UserError: masks are not of the size of their images.
    """
    seen = look_briefly(splits)
    found = find_briefly(seen) if seen else []
    for finding in found:
        if finding.kind == "sizes":
            raise UserError(f"{finding.text}. `rtseg check-data` looks at all files")
    lines = [f"Caution: {finding.text}." for finding in found if finding.severity != NOTE]
    return lines + ["`rtseg check-data` looks at all files."] * bool(lines)


def repair(dataset: SegmentationDataset) -> str:
    """What is probably meant by masks whose numbers or colours cannot be used, a line; empty where nothing tells."""
    seen = look_briefly([dataset])
    found = [finding for finding in find_briefly(seen) if finding.severity == FAULT] if seen else []
    return f"\n  `rtseg check-data` says: {found[0].text}" if found else ""


def check_labels(survey: Survey) -> None:
    """Raises: UserError where all labels are ignored, or all masks were read and only one of several classes occurs."""
    if not any(survey.pixels):
        raise UserError(
            f"every pixel of {survey.masks} is ignored, so there is nothing to learn: check which numbers the "
            "masks hold, and say what they mean (`label_map` or `colors` of data set 'folder', docs/data.md)"
        )
    if survey.all_read and (fault := _one_class(survey)):
        raise UserError(f"nothing can be learnt from these masks: {fault}")


def _one_class(survey: Survey) -> str | None:
    """What is wrong where only one of several classes occurs, and what to do; else None."""
    names, decode = survey.dataset.labels.names, survey.dataset.decode
    if len(names) == 1 or len(survey.absent) < len(names) - 1:
        return None
    present = names[next(k for k, number in enumerate(survey.pixels) if number)]
    fault = f"of {len(names)} classes only '{present}' occurs in {survey.masks}"
    if survey.ignored and isinstance(decode, IdDecoder) and decode.table[255] == IGNORE:
        other = survey.absent[0] if len(names) == 2 else "<class>"
        return (
            f"{fault}. {percent(survey.ignored_share)} of the pixels are ignored, and the number 255 means ignore. "
            "If 255 is a class of yours, write into the YAML: "
            f"label_map: {{{survey.dataset.labels.ids[names.index(present)]}: {present}, 255: {other}}}"
        )
    return f"{fault}: check which numbers the masks hold, and the order of `classes`"


def _absent(survey: Survey) -> str:
    """A caution only where every mask was read: in a large data set a rare class may be in the others."""
    some = ", ".join(f"'{name}'" for name in survey.absent[:_NAMED])
    more = f" and {len(survey.absent) - _NAMED} more" if len(survey.absent) > _NAMED else ""
    told = f"{some}{more} {'does' if len(survey.absent) == 1 else 'do'} not occur in {survey.masks}"
    if not survey.all_read:
        return f"{told}; the others were not read."
    repair = "Check the class list and the numbers in the masks."
    return f"Caution: {told}: what no training mask shows is not learnt. {repair}"


def _classes(survey: Survey) -> str:
    """'sky 17.2 %, tree 3.0 %'; of many classes the commonest and the rarest."""
    found = sorted(zip(survey.shares, survey.dataset.labels.names, strict=True), reverse=True)
    parts = [f"{name} {percent(share)}" for share, name in found if share]
    if len(parts) > _SHOWN:
        parts = [*parts[: _SHOWN // 2], f"... {len(parts) - _SHOWN} more ...", *parts[-_SHOWN // 2 :]]
    return ", ".join(parts)
