"""PyTorch's exported programs (.pt2), written without what is not needed, and read without running code of the file.

`torch.export.load` unpickles records and evaluates texts of a file, so that a file of a stranger can run anything. What
`build_pt2` writes needs neither, and `load_pt2` looks at every text before PyTorch does.
"""

import ast
import io
import re
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch.export import ExportedProgram

from rtseg.deploy.exports.description import KEY
from rtseg.deploy.exports.program import quiet
from rtseg.deploy.exports.seal import BLANK
from rtseg.errors import DAMAGED_ZIP, UserError, first_line
from rtseg.output.json_file import parse_json

_END = struct.Struct("<4s16xH")  # of a zip archive: signature, length of the comment
_RECORD = re.compile(
    r"[^/]+/(data/weights/weight_\d+|data/weights/model_weights_config\.json|data/constants/tensor_\d+|"
    r"data/constants/model_constants_config\.json|models/model\.json|data/sample_inputs/model\.pt|extra/rtseg|"
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id)"
)
_WORD = re.compile(r"[\w.:+-]*")  # names of nodes, weights and types: no expression, no call
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!(from_file|save)\b)\w+\.\w+|torch\.ops\.higher_order\.(cond|wrap_with_autocast)|"
    r"torch\.sym_\w+|math\.\w+|"
    r"_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_TYPES = re.compile(r"\b(type|context|null|children_spec|builtins\.(tuple|list|dict))\b")  # of arguments and results
_SYMBOL = re.compile(r"[su]\d+")
_FUNCTIONS = frozenset(
    (
        "Symbol", "Integer", "Add", "Mul", "Pow", "FloorDiv", "CleanDiv", "Mod", "PythonMod", "Max", "Min",
        "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan", "And", "Or", "Not",
    )
)  # fmt: skip
_ARITHMETIC = (ast.Expression, ast.UnaryOp, ast.USub, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword)


def build_pt2(program: ExportedProgram, text: str) -> bytes:
    """The file's bytes, with room for a seal in the archive's comment: each record has a CRC, which a digest inside of
    it would change.
    """
    program._guards_code = []  # Python that loading would run; the sizes that it refuses work as well
    program._example_inputs = None
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file, extra_files={KEY: text})
    content = file.getvalue()
    signature, comment = _END.unpack(content[-_END.size :])
    assert (signature, comment) == (b"PK\5\6", 0)
    return content[:-2] + struct.pack("<H", len(BLANK)) + BLANK.encode()


def pt2_text(content: bytes) -> str | None:
    """What a file says of itself; None where it has no description, or is no such archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [record for record in archive.infolist() if record.filename.endswith(f"/extra/{KEY}")]
            if len(found) != 1 or found[0].file_size > len(content):
                return None
            return archive.read(found[0]).decode()
    except DAMAGED_ZIP:
        return None


def load_pt2(content: bytes, name: str) -> ExportedProgram:
    """The program of a file.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: it is not as `build_pt2` writes it, or of a PyTorch that this one cannot read.
    """
    try:
        records = _checked(content)
    except DAMAGED_ZIP as error:
        raise UserError(
            f"{name} is not loaded, since it could run code of its own: {first_line(error)}. Export it again"
        ) from None
    # Written anew: an archive can have two tables of contents, of which PyTorch reads the other.
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    copy.seek(0)
    try:
        with quiet():
            return torch.export.load(copy)
    except Exception as error:  # of many kinds, one for each kind of damage
        raise UserError(
            f"PyTorch {torch.__version__} cannot read {name} ({first_line(error)}): export it again with this PyTorch"
        ) from None


def _checked(content: bytes) -> dict[str, bytes]:
    """The records of a file, by name.

    Raises:
        ValueError: it has what `build_pt2` does not write; `zipfile` raises others for what is no such archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = archive.infolist()
        if sum(record.file_size for record in records) > len(content):
            raise ValueError("its records claim more bytes than it has")
        for record in records:
            if not _RECORD.fullmatch(record.filename) or record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its record {record.filename[:200]!r} is unknown")
            if record.filename.endswith(".pt") and record.file_size:
                raise ValueError(f"its record {record.filename!r} is pickled")
        contents = {record.filename: archive.read(record) for record in records}
    if len(contents) != len(records):
        raise ValueError("two of its records have one name")
    for name, data in contents.items():
        if name.endswith(".json"):
            for wrong in _unknown(parse_json(data, f"its record {name!r}"), ""):
                raise ValueError(wrong)
    return contents


def _unknown(value: Any, key: str) -> Iterator[str]:
    """Texts that PyTorch would evaluate, or whose meaning is not known."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not _WORD.fullmatch(name):
                yield f"the name {name[:200]!r}"
            if (name == "use_pickle" and inner) or (name == "guards_code" and inner):
                yield f"it has {name}"
            yield from _unknown(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _unknown(inner, key)
    elif isinstance(value, str):
        if key in ("in_spec", "out_spec"):
            known = not _TYPES.sub("", value).strip('[]{}", :0123456789')
        elif key == "target":
            known = bool(_OPERATOR.fullmatch(value))
        elif key == "expr_str":
            known = _is_arithmetic(value)
        else:
            known = bool(_WORD.fullmatch(value))
        if not known:
            yield f"the text {value[:200]!r} of {key}"


def _is_arithmetic(text: str) -> bool:
    """Whether an expression computes with sizes and nothing else."""
    try:
        parts = list(ast.walk(ast.parse(text, mode="eval"))) if len(text) < 10_000 else [None]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(
        isinstance(part, _ARITHMETIC)
        and (not isinstance(part, ast.Name) or part.id in _FUNCTIONS)
        and (not isinstance(part, ast.Constant) or _is_size(part.value))
        and (not isinstance(part, ast.Call) or isinstance(part.func, ast.Name))
        for part in parts
    )


def _is_size(value: object) -> bool:
    return bool(_SYMBOL.fullmatch(value)) if isinstance(value, str) else isinstance(value, int)
