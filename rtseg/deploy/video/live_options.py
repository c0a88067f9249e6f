"""What `rtseg predict` can be told of a camera or a stream, looked at before anything heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass

from rtseg.addresses import live_source
from rtseg.checks import check_above
from rtseg.deploy.video.live_latency import parse_deadline
from rtseg.errors import UserError


@dataclass(frozen=True)
class LiveOptions:
    """How a camera or a stream is taken.

    Attributes:
        deadline: seconds from the capture of a frame to its overlay, after which it is late; None where none is asked.
        seconds: it is stopped so long after its beginning; None where it is not.
        reconnect: open it again where it ends or is lost.
        max_pixels: of a frame at most.
        patience: seconds without a frame, after which it is lost.
        pause: seconds before the first attempt to connect again; each further one waits twice as long, at most 30 s.
    """

    deadline: float | None = None
    seconds: float | None = None
    reconnect: bool = False
    max_pixels: int = 2**26
    patience: float = 10.0
    pause: float = 1.0


def live_options(sources: Sequence[str], deadline: str | None, seconds: float | None, reconnect: bool) -> LiveOptions:
    """The options as they are typed.

    Raises:
        UserError: a bad value; the sources are not live; or a live one is not alone.
    """
    address = live_source(sources)
    given = [("--deadline", deadline), ("--seconds", seconds), ("--reconnect", reconnect or None)]
    for name, value in given:
        if address is None and value is not None:
            raise UserError(
                f"{name} is for cameras and streams, which do not wait for the network; leave it out for images and "
                "films"
            )
    if seconds is not None:
        check_above("--seconds", seconds, 0, "it is how long the camera or the stream is taken")
    return LiveOptions(None if deadline is None else parse_deadline(deadline), seconds, reconnect)
