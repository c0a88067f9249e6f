"""`import rtseg`: light, and the package below it does not lean on it."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import rtseg

PACKAGE = Path(rtseg.__file__).parent


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth of it and for type checkers too; a/b for name b of module a."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute here"
            yield from (f"{node.module}/{alias.name}" for alias in node.names)


def test_the_package_itself_imports_nothing_above_the_version_and_telemetry() -> None:
    own = {name for name in imports(PACKAGE / "__init__.py") if name.startswith("rtseg")}
    assert own == {"rtseg.version/VERSION", "rtseg.telemetry/switch_off"}
    for file in ("version.py", "telemetry.py"):
        assert not [name for name in imports(PACKAGE / file) if name.startswith("rtseg")]


def test_no_module_imports_the_whole_package() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "pretrain").rglob("*.py")]
    assert len(files) > 100
    for file in files:
        for name in imports(file):
            whole = name == "rtseg" or (name.startswith("rtseg/") and name.removeprefix("rtseg/") not in modules)
            assert not whole, f"{file}: import what you need from the module that has it"


def test_the_stub_names_what_there_is_where_it_is() -> None:
    stub: dict[str, str] = {}
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            stub |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            stub[ast.unparse(node.target)] = "rtseg.version.VERSION"
    assert stub.keys() == set(dir(rtseg))
    for name, home in stub.items():
        module, _, attribute = home.rpartition(".")
        assert getattr(rtseg, name) is getattr(importlib.import_module(module), attribute)


def test_import_stays_light() -> None:
    program = "import sys, rtseg; sys.exit(', '.join({'torch', 'numpy', 'cv2', 'typer'} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
