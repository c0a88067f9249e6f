"""What a server takes of its visitors, and how it refuses the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from rtseg.checks import check_between, check_whole


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server's memory and time its own.

    Attributes:
        body: bytes of an image file.
        pixels: of an image, by its header.
        receive: seconds for receiving a request.
        seconds: for a whole request, from its header to its answer.
        parallel: requests with an image that are waiting or in work.

    Raises:
        UserError: one is out of range.
    """

    body: int = 2**25
    pixels: int = 2**24
    receive: float = 30.0
    seconds: float = 60.0
    parallel: int = 16

    def __post_init__(self) -> None:
        check_between("--max-bytes", self.body, 1, 2**31, "it is of one image file")
        check_between("--max-pixels", self.pixels, 1, 2**30, "it is width x height; OpenCV decodes no more")
        check_between("--receive-seconds", self.receive, 0.1, 86400)
        check_between("--seconds", self.seconds, 0.1, 86400)
        check_whole("--parallel", self.parallel, 1)

    @property
    def held(self) -> int:
        """Bytes of image files that are in memory at once: those of four of the largest."""
        return 4 * self.body


class Refused(Exception):
    """A request that gets no class map.

    Attributes:
        status: of HTTP.
        why: one sentence for the visitor.
        headers: of the answer.
    """

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, dict(headers or {})

    @classmethod
    def busy(cls, why: str) -> "Refused":
        """For the time being: the same request may be taken a second later."""
        return cls(503, f"{why}; send the request again in a second", {"Retry-After": "1"})


class Gone(Exception):
    """The client has left: nobody waits for an answer."""
