"""The entries of the authors' PSMNet (`stackhourglass`) under our names."""

import re
from collections.abc import Mapping

from torch import Tensor

# Where an activation stands between two layers, the authors' second layer is number 2, ours 1.
_RULES = (
    (r"^feature_extraction\.firstconv\.([024])\.", lambda m: f"features.stem.{int(m[1]) // 2}.0."),
    (r"^feature_extraction\.(layer\d\.\d+\.conv1)\.0\.", r"features.\1."),
    (r"^feature_extraction\.(layer\d\.\d+\.)downsample\.", r"features.\1shortcut."),
    (r"^feature_extraction\.branch([1-4])\.1\.", lambda m: f"features.pools.{int(m[1]) - 1}.0."),
    (r"^feature_extraction\.lastconv\.0\.", "features.fuse.0.0."),
    (r"^feature_extraction\.lastconv\.2\.", "features.fuse.1."),
    (r"^feature_extraction\.", "features."),
    (r"^dres0\.([02])\.", lambda m: f"reduce.{int(m[1]) // 2}.0."),
    (r"^dres1\.0\.", "refine.0.0."),
    (r"^dres1\.2\.", "refine.1."),
    (r"^dres([234])\.", lambda m: f"hourglasses.{int(m[1]) - 2}."),
    (r"^classif([123])\.0\.", lambda m: f"classifiers.{int(m[1]) - 1}.0.0."),
    (r"^classif([123])\.2\.", lambda m: f"classifiers.{int(m[1]) - 1}.1."),
)


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with our names; a `module.` of DataParallel is taken off, unknown names stay."""
    return {_renamed(key.removeprefix("module.")): value for key, value in state.items()}


def _renamed(key: str) -> str:
    for pattern, name in _RULES:
        found, count = re.subn(pattern, name, key)
        if count:
            return str(found)
    return key
