"""Looking at many files, several at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rtseg.data.findings.decoder_words import DecoderWords
from rtseg.data.findings.image_look import damage_of, look_at_image
from rtseg.data.findings.looks import ImageLook, MaskLook
from rtseg.data.findings.mask_look import look_at_mask

Look = ImageLook | MaskLook


class Job(NamedTuple):
    """A file to look at: an image or a mask."""

    what: str
    path: Path


def look_at_files(
    jobs: Sequence[Job], threads: int, words: DecoderWords, channels: int | None = None
) -> Iterator[tuple[Job, Look]]:
    """The looks; those at images that may be damaged come last.

    Args:
        threads: decoders and NumPy let others run meanwhile.
        words: what decoders print.
        channels: of the images, as `data.channels` has it.
    """

    def look(job: Job) -> tuple[Look, bool]:
        before = words.length
        found = look_at_mask(job.path) if job.what == "mask" else look_at_image(job.path, channels)
        return found, job.what == "image" and words.length > before

    suspects: list[tuple[Job, Look]] = []
    pool = ThreadPoolExecutor(threads)
    try:
        for job, (found, suspected) in zip(jobs, pool.map(look, jobs), strict=True):
            if suspected:
                suspects.append((job, found))
            else:
                yield job, found
    finally:
        pool.shutdown(cancel_futures=True)
    for job, found in suspects:  # whose words they were shows when they are decoded alone
        yield job, replace(found, damage=damage_of(job.path, words)) if isinstance(found, ImageLook) else found
