"""Tables 9 to 12 of the first paper (Shen et al., "Factorized Attention", https://arxiv.org/abs/1812.01243), computed
and held against what they print.

c channels, b = k channels of the basis (of the keys), m of the values, h heads, s positions. Memory is every number
that a module writes, counted once, the input not. Compute is in multiply-adds (MACs), which is what a profiler gives;
the paper's MACC is "a multiplication or an addition", so 2 of them should make one MAC.

Attentions are computed by the `cost` of this library's own modules, the two ResBlocks by their formulas.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch

from rtseg.attention import create_attention


@dataclass(frozen=True)
class Sizes:
    """The paper's letters."""

    c: int
    b: int
    m: int
    h: int
    s: int

    def __call__(self, formula: str) -> float:
        """The value of a formula of `PAPER` (the paper's k is b)."""
        return eval(formula, {"__builtins__": {}}, {**asdict(self), "k": self.b})


# As printed, (memory in numbers, compute in MACC), in Python's notation, so that what is shown is what is computed.
PAPER: dict[int, dict[str, tuple[str, str]]] = {
    9: {
        "ResBlock": ("5*c*s", "36*c**2*s"),
        "ResBlock-bot": ("(4*m + 3*c)*s", "(4*m*c + 18*m**2)*s"),
        "FA-dot": ("(2*b + 3*c)*s + b*c", "(8*b*c + 2*c**2)*s"),
        "CA-dot": ("(2*k + 3*c)*s + s**2", "(2*k*c + c**2)*s + (2*k + 2*c)*s**2"),
        "FA-bot": ("(2*b + 2*m + 2*c)*s + b*m", "(4*b*c + 4*m*c + 4*b*m)*s"),
        "CA-bot": ("(2*k + 2*m + 2*c)*s + s**2", "(4*k*c + 4*m*c)*s + (2*k + 2*m)*s**2"),
        "FA-multi": ("(2*b + 2*m + 2*c)*s + b*m/h", "(4*b*c + 4*m*c + 4*b*m/h)*s"),
        "CA-multi": ("(2*k + 2*m + 2*c)*s + h*s**2", "(4*k*c + 4*m*c)*s + (2*h*k + 2*m)*s**2"),
        "FA-Tfm": ("(2*b + 2*m + 6*c)*s + b*m/h", "(4*b*c + 4*m*c + 4*b*m/h + 5*c**2)*s"),
        "CA-Tfm": ("(2*k + 2*m + 6*c)*s + h*s**2", "(4*k*c + 4*m*c + 5*c**2)*s + (2*k + 2*m)*s**2"),
    },
    10: {  # b = k = m = c / 2
        "ResBlock": ("5*c*s", "36*c**2*s"),
        "ResBlock-bot": ("5*c*s", "(13/2)*c**2*s"),
        "FA-dot": ("4*c*s + c**2/2", "6*c**2*s"),
        "CA-dot": ("4*c*s + s**2", "2*c**2*s + 3*c*s**2"),
        "FA-bot": ("4*c*s + c**2/4", "5*c**2*s"),
        "CA-bot": ("4*c*s + s**2", "4*c**2*s + 2*c*s**2"),
        "FA-multi": ("4*c*s + c**2/(4*h)", "(4*c**2 + c**2/h)*s"),
        "CA-multi": ("4*c*s + h*s**2", "4*c*s + (h*c + c)*s**2"),
    },
    11: {  # b = k = m = c / 4
        "FA-multi": ("3*c*s + c**2/(16*h)", "(2*c**2 + c**2/(4*h))*s"),
        "CA-multi": ("3*c*s + h*s**2", "2*c**2*s + (h*c/2 + m/2)*s**2"),
        "FA-Tfm": ("7*c*s + c**2/(16*h)", "(c**2/(4*h) + 7*c**2)*s"),
        "CA-Tfm": ("7*c*s + h*s**2", "7*c**2*s + c*s**2"),
    },
}
# Where a printed count is not twice the MACs, why.
_MIXED = "mixed units: projections counted once, the s x s products twice; all twice is (4kc + 2c²)s + (2k + 2c)s²"
_WIDE_HEADS = "wrong: a head's keys have k/h channels, so 2k and not 2hk"
_FEEDFORWARD = "off by c²s: the 6c numbers of the memory mean a hidden width of c, which is 4c² and not 5c²"
SLIPS: dict[tuple[int, str], str] = {
    (9, "CA-dot"): _MIXED,
    (9, "CA-multi"): f"{_WIDE_HEADS}, as the row of CA-Tfm has it",
    (9, "FA-Tfm"): _FEEDFORWARD,
    (9, "CA-Tfm"): _FEEDFORWARD,
    (10, "CA-dot"): "mixed units, from Table 9; all twice is 4c²s + 3cs²",
    (10, "CA-multi"): "wrong twice: 4cs is a misprint of 4c²s, and hc, from Table 9, should be c",
    (11, "CA-multi"): "wrong twice: hc/2, from Table 9, should be c/2, and m/2 should be c/2",
    (11, "FA-Tfm"): "off by c²s, from Table 9: 6c² and not 7c²",
    (11, "CA-Tfm"): "off by c²s, from Table 9: 6c² and not 7c²",
}
_OPTIONS = {
    "dot": "heads=1:values=none",
    "bot": "heads=1:values={m}",
    "multi": "heads={h}:values={m}",
    "Tfm": "heads={h}:values={m}:transformer={f}",
}


@cache
def cost(module: str, sizes: Sizes, f: int = 1) -> tuple[int, int]:
    """(numbers written, MACs) of a row of Table 9; a Transformer's feed-forward part has f * c hidden channels."""
    c, m, s = sizes.c, sizes.m, sizes.s
    if module == "ResBlock":  # 3x3, ReLU, 3x3, sum, ReLU
        return 5 * c * s, 18 * c * c * s
    if module == "ResBlock-bot":  # 1x1, ReLU, 3x3, ReLU, 1x1, sum, ReLU
        return (4 * m + 3 * c) * s, (2 * m * c + 9 * m * m) * s
    family, variant = module.split("-")
    name = {"FA": "fa", "CA": "nl"}[family]
    options = _OPTIONS[variant].format(h=sizes.h, m=m, f=f)
    with torch.device("meta"):
        attention = create_attention(f"{name}:kind=dot:basis={sizes.b}:{options}", c)
    own = attention.cost(s, 1)
    assert own.activation_floats is not None
    return own.activation_floats, own.macs


def table(number: int, sizes: Sizes) -> list[dict[str, Any]]:
    """Table 9 at `sizes`; Tables 10 and 11 at b = m = c / 2 and c / 4. One row a module, plain JSON types."""
    narrow = sizes.c // {9: 1, 10: 2, 11: 4}[number]
    sizes = sizes if number == 9 else replace(sizes, b=narrow, m=narrow)
    rows = []
    for module, (memory, compute) in PAPER[number].items():
        floats, macs = cost(module, sizes)
        rows.append(
            {
                "module": module,
                "paper_memory": memory,
                "paper_floats": sizes(memory),
                "floats": floats,
                "paper_compute": compute,
                "paper_macc": sizes(compute),
                "macs": macs,
                "macc_per_mac": sizes(compute) / macs,
                "slip": SLIPS.get((number, module)),
            }
        )
    return rows


def table12(sizes: Sizes) -> list[dict[str, str]]:
    """What each module grows with, read off between two s that are large against everything else."""
    orders = {1: "O(s)", 2: "O(s²)"}
    rows = []
    for module in PAPER[9]:
        near, far = (cost(module, replace(sizes, s=s)) for s in (2**30, 2**31))
        memory, compute = (orders[round(math.log2(b / a))] for a, b in zip(near, far, strict=True))
        rows.append({"module": module, "memory": memory, "compute": compute})
    return rows
