"""What the page says in a browser where something is missing or wrong."""

from pathlib import Path

import pytest

from rtseg.page.write import write_page
from tests.helpers.networks import tiny_segmenter
from tests.helpers.pages import Page, browser, runtime_folder, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("network")
    tiny_segmenter().save_pretrained(folder)
    return str(folder)


def test_a_cdn_out_of_reach_names_the_repair(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.page.write.CDN", "http://127.0.0.1:1/")
    write_page(network, tmp_path / "page")
    with served(tmp_path / "page") as address, browser() as driver:
        page = Page(driver, address, starts=False)
        page.wait(lambda: page.find("error").is_displayed())
        assert "there is no connection" in page.text("error")
        assert "rtseg page --runtime" in page.text("error")


def test_what_is_asked_in_vain_and_a_wrong_file(network: str, tmp_path: Path) -> None:
    write_page(network, tmp_path / "page", size=(96, 128), runtime=runtime_folder(tmp_path))
    (tmp_path / "text.png").write_text("no image")
    with served(tmp_path / "page") as address, browser() as driver:
        page = Page(driver, f"{address}?on=gpu")
        assert "on=gpu, which is unknown: webgpu or wasm is known." in page.text("engine")
        page = Page(driver, f"{address}?on=webgpu")
        assert "since this browser has no WebGPU. The address asks for on=webgpu, which does not" in page.text("engine")
        assert "The address asks for on=" not in Page(driver, f"{address}?on=wasm").text("engine")
        page.open(tmp_path / "page" / "example.png")
        assert page.find("viewer").is_displayed()
        page.open(tmp_path / "text.png")
        assert "and films as MP4" in page.text("error")
        assert not page.find("viewer").is_displayed()
        assert not page.find("times").is_displayed()
        page.open(tmp_path / "page" / "example.png")
        assert page.find("viewer").is_displayed()
