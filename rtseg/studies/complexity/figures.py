"""Figures 4 and 5 of the first paper as numbers, and every figure that its text quotes, compared with them.

Bytes are those of float32, 1 GB = 10^9. The figures hold for c = 64 and b = k = c / 2: the paper states the first, and
no other power of two gives its numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtseg.studies.complexity.tables import PAPER, Sizes, cost

SIDES = (32, 64, 128, 256, 512)
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Bert:
    """A model of Devlin et al., https://arxiv.org/abs/1810.04805, Section 3."""

    name: str
    channels: int
    heads: int
    layers: int
    parameters: int


BERTS = (Bert("BERT-base", 768, 12, 12, 110_000_000), Bert("BERT-large", 1024, 16, 24, 340_000_000))


def dot_product(module: str, s: int, channels: int = 64) -> tuple[int, int, float]:
    """(bytes, MACs, the paper's MACC) of CA-dot or FA-dot with b = k = c / 2."""
    sizes = Sizes(channels, channels // 2, channels, 1, s)
    floats, macs = cost(module, sizes)
    return 4 * floats, macs, sizes(PAPER[9][module][1])


def figure4(channels: int = 64, sides: Sequence[int] = SIDES) -> list[dict[str, Any]]:
    """Non-local and factorized attention on square maps."""
    points = []
    for module in ("CA-dot", "FA-dot"):
        for side in sides:
            memory, macs, macc = dot_product(module, side * side, channels)
            points.append({"module": module, "side": side, "bytes": memory, "macs": macs, "paper_macc": macc})
    return points


def transformer(module: str, bert: Bert, length: int, f: int) -> dict[str, Any]:
    """A BERT of CA-Tfm or FA-Tfm layers, b = m = c; `bytes` holds the parameters as well."""
    floats, macs = cost(module, Sizes(bert.channels, bert.channels, bert.channels, bert.heads, length), f)
    activations = 4 * bert.layers * floats
    return {
        "model": bert.name,
        "f": f,
        "module": module,
        "length": length,
        "activation_bytes": activations,
        "bytes": activations + 4 * bert.parameters,
        "macs": bert.layers * macs,
    }


def figure5(lengths: Sequence[int] = LENGTHS) -> list[dict[str, Any]]:
    """Both BERTs, with the feed-forward part that Table 9's memory implies (f = 1) and with BERT's own (f = 4)."""
    return [
        transformer(module, bert, length, f)
        for bert in BERTS
        for f in (1, 4)
        for module in ("CA-Tfm", "FA-Tfm")
        for length in lengths
    ]


@dataclass(frozen=True)
class Quote:
    """A figure of the paper's text.

    Attributes:
        paper: in the paper's words.
        computed: the same in its unit.
        low, high: between which the words are true.
    """

    what: str
    paper: str
    computed: float
    unit: str
    low: float
    high: float
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.low <= self.computed < self.high


def quotes() -> list[Quote]:
    """Quotes of the abstract and of sections 1, 3.4 and 5."""
    small, middle, large, video = 64 * 64, 128 * 128, 256 * 256, 64 * 64 * 32
    conventional = {s: dot_product("CA-dot", s) for s in (small, middle, large, video)}
    factorized = {s: dot_product("FA-dot", s) for s in (small, large, video)}

    def ratio(s: int, i: int) -> float:
        return conventional[s][i] / factorized[s][i]

    res3 = [a / b for a, b in zip(dot_product("CA-dot", 3136, 1024), dot_product("FA-dot", 3136, 1024), strict=True)]
    wide = [a / b for a, b in zip(dot_product("CA-dot", video, 1024), dot_product("FA-dot", video, 1024), strict=True)]
    base = [transformer(module, BERTS[0], 512, 1)["bytes"] for module in ("CA-Tfm", "FA-Tfm")]
    full = [transformer(module, BERTS[0], 512, 4)["bytes"] for module in ("CA-Tfm", "FA-Tfm")]
    long = [transformer(module, BERTS[0], 8192, 1)["bytes"] / 1e9 for module in ("CA-Tfm", "FA-Tfm")]
    return [
        Quote("64x64: memory, conventional / factorized", "17", ratio(small, 0), "times", 16.5, 17.5),
        Quote(
            "64x64: compute, conventional / factorized", "32", ratio(small, 1), "times", 32, 33,
            f"MACs; {ratio(small, 2):.2f} by the printed formulas",
        ),
        Quote("256x256: memory, conventional", "17.2", conventional[large][0] / 1e9, "GB", 17.15, 17.25),
        Quote(
            "256x256: compute, conventional", "412", conventional[large][1] / 1e9, "GMAC", 412, 413,
            f"the paper calls it GMACC, but its printed formula gives {conventional[large][2] / 1e9:.1f} GMACC",
        ),
        Quote(
            "memory, factorized at 256x256 / conventional at 64x64", "less than 1",
            factorized[large][0] / conventional[small][0], "times", 0, 1,
            f"{factorized[large][0] / 1e6:.1f} and {conventional[small][0] / 1e6:.1f} MB",
        ),
        Quote(
            "compute, factorized at 256x256 / conventional at 64x64", "less than 1",
            factorized[large][1] / conventional[small][1], "times", 0, 1,
            f"{factorized[large][1] / 1e9:.3f} and {conventional[small][1] / 1e9:.3f} GMAC",
        ),
        Quote("128x128: memory, conventional", "over 1", conventional[middle][0] / 1e9, "GB", 1, 1.5),
        Quote(
            "128x128: compute, conventional", "over 50", conventional[middle][2] / 1e9, "GMACC", 50, 55,
            f"by the printed formula; {conventional[middle][1] / 1e9:.2f} GMAC",
        ),
        Quote("64x64x32: memory, conventional", "over 68", conventional[video][0] / 1e9, "GB", 68, 69),
        Quote(
            "64x64x32: compute, conventional", "over 3.2", conventional[video][2] / 1e12, "TMACC", 3.2, 3.4,
            f"by the printed formula; {conventional[video][1] / 1e12:.3f} TMAC",
        ),
        Quote(
            "64x64x32: compute, conventional / factorized", "1025", ratio(video, 1), "times", 1024.5, 1025.5,
            f"MACs; {ratio(video, 2):.2f} by the printed formulas",
        ),
        Quote(
            "64x64x32: memory, conventional / factorized", "32", ratio(video, 0), "times", 31.5, 33,
            f"not reproduced: c = 1024 gives {wide[0]:.2f}, but then {wide[1]:.1f} for the compute",
        ),
        Quote(
            "28x28x4 of res3, c = 1024: memory, conventional / factorized", "2", res3[0], "times", 1.5, 2.5,
            "c = 1024 as in the paper's Table 1",
        ),
        Quote(
            "28x28x4 of res3, c = 1024: compute, conventional / factorized", "2", res3[2], "times", 1.5, 2.5,
            f"by the printed formulas; {res3[1]:.2f} in MACs",
        ),
        Quote(
            "BERT-base, 512 long: memory saved", "20", 100 * (1 - base[1] / base[0]), "%", 17, 23,
            f"parameters included; {100 * (1 - full[1] / full[0]):.1f} with BERT's own feed-forward part (f = 4)",
        ),
        Quote(
            "BERT-base, 8192 long: memory, conventional / factorized", "impractical / reasonable", long[0] / long[1],
            "times", 10, 1000, f"{long[0]:.1f} and {long[1]:.2f} GB",
        ),
    ]  # fmt: skip
