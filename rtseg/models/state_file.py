"""Files of weights by name and nothing else, as other libraries publish them. No pickled code is run."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rtseg.errors import UserError, first_line

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_INSIDE = ("state_dict", "model")  # under which a training of others keeps the weights


def is_state_file(source: str) -> bool:
    """Whether this is such a file, which is here."""
    return source.endswith(SUFFIXES) and Path(source).is_file()


def read_state_file(path: Path) -> dict[str, Tensor]:
    """Weights by name, on the CPU.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise UserError(f"'{path}' is damaged or not a safetensors file: {error}") from None
    except Exception as error:  # a file of another kind raises anything, as its bytes decide
        raise UserError(
            f"'{path}' is damaged, or holds more than weights, which is refused ({first_line(error)[:200]}): copy or "
            "download it again"
        ) from None
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(f"'{path}' does not hold weights by name: give a file of a state dict")
    return dict(content)
