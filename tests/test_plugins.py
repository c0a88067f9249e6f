"""Loading plug-ins: from files, modules, installed packages and the environment, and what is said where one fails.

Each in a process of its own, since what is loaded stays.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = """
from rtseg.registry import Registry
SHAPES = Registry("shape")
SHAPES.register("square")(4)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a registry in shapes.py, a plug-in for it in triangle.py, and a package for it in site/."""
    (tmp_path / "shapes.py").write_text(SHAPES)
    (tmp_path / "triangle.py").write_text("from shapes import SHAPES\nSHAPES.register('triangle')(3)\n")
    package, info = tmp_path / "site" / "more_shapes", tmp_path / "site" / "more_shapes-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from shapes import SHAPES\nSHAPES.register('pentagon')(5)\n")
    (package / "broken.py").write_text("import math\n\nmath.sqrt(-1)\n")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: more-shapes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rtseg.plugins]\nmore = more_shapes\n")
    return tmp_path


def python(folder: Path, program: str, **environment: str) -> str:
    """What a program in this folder prints; the last line of its errors where it fails."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), environment.pop("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


LOAD = "import sys; from rtseg.plugins import *; from shapes import SHAPES; print(load_plugin({!r})); "


@pytest.mark.parametrize("plugin", ["triangle.py", "./triangle.py", "triangle"])
def test_a_file_or_module_registers_once(folder: Path, plugin: str) -> None:
    program = LOAD.format(plugin) + f"load_plugin({plugin!r}); load_plugin('triangle.py'); print(SHAPES.names())"
    called = "triangle" if plugin == "triangle" else "triangle.py"
    assert python(folder, program) == f"{called}\n['square', 'triangle']"


def test_a_file_is_called_by_its_path_below_here_and_elsewhere_by_its_name(folder: Path) -> None:
    (folder / "below").mkdir()
    program = f"from rtseg.plugins import *; print(load_plugin({str(folder / 'triangle.py')!r}), loaded_plugins())"
    assert python(folder.parent, program) == f"{folder.name}/triangle.py ('{folder.name}/triangle.py',)"
    assert python(folder / "below", program) == "triangle.py ('triangle.py',)"


def test_processes_that_are_started_have_the_plugins(folder: Path) -> None:
    """A child by its environment, in any folder; one made by spawn also where it is sent what a plug-in defines."""
    area = "@SHAPES.register('triangle')\ndef area(a): return a\n"
    (folder / "triangle.py").write_text(f"from shapes import SHAPES\n{area}")
    child = "import shapes, sys; sys.exit(shapes.SHAPES.names() != ['square', 'triangle'])"
    program = LOAD.format("triangle.py") + (
        "import multiprocessing, subprocess, os\n"
        f"done = subprocess.run([sys.executable, '-c', {child!r}], cwd='/', env=os.environ | {{'PYTHONPATH': os.pathsep"
        ".join(sys.path)})\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(done.returncode, pool.map(SHAPES.get('triangle'), [7]))"
    )
    assert python(folder, program).splitlines()[-1] == "0 [7]"


def test_an_installed_package_comes_by_itself(folder: Path) -> None:
    """When a name is asked for that is not there, or all; not before, and not instead of rtseg's own."""
    site = {"PYTHONPATH": str(folder / "site")}
    program = "import sys; from shapes import SHAPES; {}; print('more_shapes' in sys.modules, {})"
    assert python(folder, program.format("SHAPES.get('square')", 4), **site) == "False 4"
    assert python(folder, program.format("SHAPES.get('pentagon')", "SHAPES.get('pentagon')"), **site) == "True 5"
    assert python(folder, program.format("SHAPES.names()", "SHAPES.names()"), **site) == "True ['pentagon', 'square']"


def test_a_broken_installed_package_is_named(folder: Path) -> None:
    site = {"PYTHONPATH": str(folder / "site")}
    points = folder / "site" / "more_shapes-1.0.dist-info" / "entry_points.txt"
    for module, problem in {
        "more_shapes.broken": ", line 3 of broken.py: ValueError: math domain error",
        "absent": ": Python finds no module 'absent'; repair or uninstall the package",
    }.items():
        points.write_text(f"[rtseg.plugins]\nmore = {module}\n")
        said = python(folder, "from shapes import SHAPES; SHAPES.get('circle')", **site)
        assert said.startswith("rtseg.errors.UserError: plug-in 'more' of the installed package 'more-shapes'")
        assert said.partition("'more-shapes'")[2].startswith(problem.partition("math")[0])


WRONG = [
    ("absent.py", None, "plug-in 'absent.py' does not exist; .py files there: "),
    ("no/such.py", None, "plug-in 'no/such.py' does not exist; .py files there: none"),
    ("site/", None, "plug-in 'site' is not a .py file; give one, as in --plugin my_attention.py"),
    ("absent", None, "plug-in 'absent': Python finds no module 'absent'; install it, or give a file"),
    ("a.b", None, "plug-in 'a.b': Python finds no module 'a'; install it"),
    ("equals.py", "x = 1\nx = = 2\n", "plug-in 'equals.py', line 2: SyntaxError: invalid syntax"),
    ("name.py", "\n\nfoo\n", "plug-in 'name.py', line 3: NameError: name 'foo' is not defined"),
    ("lacks.py", "\nimport none_such", "plug-in 'lacks.py', line 2: ModuleNotFoundError: No module named 'none_such'"),
    ("ends.py", "import sys\nsys.exit('bye')", "plug-in 'ends.py', line 2: SystemExit: bye"),
    ("deep.py", "import json\njson.loads('')", "plug-in 'deep.py', line 2: JSONDecodeError: Expecting value"),
    ("site/json.py", "", "plug-in 'site/json.py': 'json' is also the name of the file"),
    ("site/sys.py", "", "plug-in 'site/sys.py': 'sys' is also the name of Python itself; rename yours"),
    ("v1.2.py", "", "plug-in 'v1.2.py': a module's name has no dot; call it v1_2.py"),
    (
        "taken.py",
        "from shapes import SHAPES\nSHAPES.register('square')(0)",
        "plug-in 'taken.py', line 2: shape 'square' is registered already; choose another name",
    ),
    (
        "taken_too.py",
        "from shapes import SHAPES\nSHAPES.register('triangle')(0)",
        "plug-in 'taken_too.py', line 2: shape 'triangle' is registered already by the plug-in triangle.py; choose",
    ),
]


def test_what_is_wrong_is_said(folder: Path) -> None:
    for name, code, _ in WRONG:
        if code is not None:
            (folder / name).write_text(code)
    program = LOAD.format("triangle.py") + (
        f"\nfrom rtseg.errors import UserError\nfor name in {[name for name, _, _ in WRONG]}:\n"
        "    try: load_plugin(name)\n    except UserError as error: print(error)"
    )
    said = python(folder, program).splitlines()[1:]
    assert len(said) == len(WRONG)
    for words, (_, _, begin) in zip(said, WRONG, strict=True):
        assert words.startswith(begin)


def test_what_a_network_uses_is_noted_and_a_lost_plugin_is_named(folder: Path) -> None:
    note = "\nwith noting() as used: [SHAPES.get(name) for name in ('square', {})]\nprint(sorted(used))"
    assert python(folder, LOAD.format("triangle.py") + note.format("'triangle'")).splitlines()[-1] == "['triangle.py']"
    assert python(folder, LOAD.format("triangle.py") + note.format("")).splitlines()[-1] == "[]"
    lost = "from rtseg.registry import trained_with\nwith trained_with({}): SHAPES.get('triangel')"
    said = {
        "()": "unknown shape 'triangel'. Did you mean 'triangle'? Known: square, triangle. If it is your own, it is "
        "not loaded here: add --plugin FILE, the .py file that registers it (in Python, first: "
        "rtseg.load_plugin('FILE')).",
        "('a/mine.py', 'triangle.py')": "unknown shape 'triangel': it needs the plug-in a/mine.py, which is not "
        "loaded; add --plugin a/mine.py to the command (in Python, first: rtseg.load_plugin('a/mine.py'))",
        "('old/triangle.py',)": "unknown shape 'triangel'. Did you mean 'triangle'? Known: square, triangle. It was "
        "trained with the plug-in old/triangle.py. The plug-in of that name that is loaded now does not register it.",
    }
    for wanted, words in said.items():
        error = python(folder, LOAD.format("triangle.py") + "\n" + lost.format(wanted))
        assert error == f"rtseg.registry.UnknownNameError: {words}"


def test_commands_take_it_before_and_after_their_name(folder: Path) -> None:
    (folder / "mine.py").write_text("print('loaded', end=' ')\n")
    (folder / "other.py").write_text("print('other', end=' ')\n")
    program = "import sys, json; from rtseg.cli import main; main({})"
    for words in (
        ["--plugin", "mine.py", "complexity", "--help"],
        ["complexity", "--plugin", "mine.py", "--help"],
        ["complexity", "--help", "--plugin=mine.py"],
    ):
        assert python(folder, program.format(json.dumps(words))).startswith("loaded Usage:")
    both = ["complexity", "--plugin", "mine.py", "--help", "--plugin", "other"]
    assert python(folder, program.format(json.dumps(both))).startswith("loaded other Usage:")
    for words in (["complexity", "--plugin"], ["complexity", "--plugin", "--help"]):
        said = python(folder, program.format(json.dumps(words)))
        assert said == "error: --plugin needs a file or a module, as in --plugin my_attention.py"
