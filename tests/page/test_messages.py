"""What the page says in a browser where something is missing or wrong."""

from pathlib import Path

import pytest

from rtseg.page.write import write_page
from tests.helpers.networks import tiny_segmenter
from tests.helpers.pages import Page, browser, served

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
