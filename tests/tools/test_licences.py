"""The licence table: what it accepts, what it refuses, and that docs/licences.md is that of this environment."""

from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from tools import licences

TABLE = Path(__file__).parents[2] / "docs" / "licences.md"


def package(folder: Path, name: str, *metadata: str) -> Distribution:
    """An installed package that has this metadata."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata]))
    return Distribution.at(info)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        (["License-Expression: Apache-2.0 OR GPL-2.0-only"], "Apache-2.0 OR GPL-2.0-only"),
        (["License-Expression: (MIT AND ISC) OR AGPL-3.0-only"], "(MIT AND ISC) OR AGPL-3.0-only"),
        (["License: MIT License", "License: ", "Classifier: Typing :: Typed"], "MIT"),
        (["License: BSD", "Classifier: License :: OSI Approved :: ISC License (ISCL)"], "ISC"),
        (["License: OSI Approved :: Apache Software License"], "Apache-2.0"),
    ],
)
def test_acceptable(tmp_path: Path, metadata: list[str], licence: str) -> None:
    assert licences.read(package(tmp_path, "some_package", *metadata), "[dev]") == licences.Row(
        "some-package", "[dev]", licence
    )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["License-Expression: AGPL-3.0-only"], "'AGPL-3.0-only' is not among the acceptable.*use another package"),
        (["License-Expression: MIT AND GPL-3.0-only"], "use another package"),
        (["License: MIT", "Classifier: License :: OSI Approved :: GNU Affero General Public License v3"], "another"),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], "look up whether it is permissive"),
        (["License: BSD"], "names no licence that is known; look into its licence file"),
        ([], "names no licence that is known"),
    ],
)
def test_not_acceptable(tmp_path: Path, metadata: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^some-package: .*{message}"):
        licences.read(package(tmp_path, "some_package", *metadata), "rtseg")


def test_a_review_does_not_hide_what_the_metadata_says_later(tmp_path: Path) -> None:
    assert licences.read(distribution("numba"), "rtseg").licence == "BSD-2-Clause"  # its metadata says "BSD"
    with pytest.raises(ValueError, match=r"^numba: 'AGPL-3.0-only'"):
        licences.read(package(tmp_path, "numba", "License-Expression: AGPL-3.0-only"), "rtseg")


def test_the_page_is_this_environments() -> None:
    rows, text = licences.installed(), TABLE.read_text()
    table = licences.parse(text)
    assert licences.check(rows, table) == []
    assert licences.write(table) == text
    needed = {name: row.needed_by for name, row in table.items()}
    assert (needed["torch"], needed["onnxruntime"], needed["openvino"], needed["pytest"]) == (
        "rtseg",
        "[onnx]",
        "[openvino]",
        "[dev]",
    )


def test_what_the_page_does_not_say_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command, with a package more on the path; one for another platform keeps its row."""
    page = tmp_path / "licences.md"
    other = licences.Row("pywin32", "[dev]", "PSF-2.0")
    page.write_text(licences.write({other.name: other}))
    licences.main([str(page)])
    licences.main(["--check", str(page)])
    assert {"pywin32", "torch"} <= licences.parse(page.read_text()).keys()
    package(tmp_path, "new_one", "License-Expression: MIT")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit, match=r"^new-one \(MIT\) is installed, but .* does not list it: run make docs$"):
        licences.main(["--check", str(page)])


def test_what_a_package_brings_inside_itself_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """setuptools puts its own copies of packages on the path once it is imported, whichever test did that."""
    inside = tmp_path / "setuptools" / "_vendor"
    inside.mkdir(parents=True)
    package(inside, "new_one", "License: LGPLv3")
    monkeypatch.syspath_prepend(inside)
    assert "new-one" not in {row.name for row in licences.installed()}


@pytest.mark.parametrize("arguments", [[], ["--check"], ["--checks", "page.md"], ["page.md", "--check"]])
def test_a_flag_is_not_taken_for_the_page(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"usage: python -m tools\.licences"):
        licences.main(arguments)
    assert list(tmp_path.iterdir()) == []
