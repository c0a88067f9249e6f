"""The page in a browser: what it computes, and how it is used. `RTSEG_ORT_WEB` is a folder of onnxruntime-web."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.cli import main
from rtseg.deploy.exports.command import export_file
from rtseg.page.runtime import check_runtime
from rtseg.page.write import write_page
from rtseg.scenes import draw_scene
from tests.helpers.command import exit_status
from tests.helpers.films import ffmpeg, write_film
from tests.helpers.networks import tiny_segmenter
from tests.helpers.pages import ISOLATED, Page, browser, requests, runtime_folder, served

pytestmark = pytest.mark.slow
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
ON_PHONES = (800, 390)
IDS = np.array([7, 8, 11, 300, 12])  # of the tiny network


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_folder(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain`, and `resized`: as evaluation does for ADE20K, and upsampled twice."""
    folder = tmp_path_factory.mktemp("networks")
    network = tiny_segmenter()
    network.save_pretrained(folder / "plain")
    network.card = replace(network.card, eval_resize=(128, 512), upsampling="twice")
    network.save_pretrained(folder / "resized")
    return folder


@pytest.fixture(scope="module")
def site(networks: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a page for each network."""
    root = tmp_path_factory.mktemp("site")
    for name in ("plain", "resized"):
        write_page(str(networks / name), root / name, runtime=runtime)
    write_page(str(networks / "plain"), root / "fixed", size=(96, 128), runtime=runtime)
    return root


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streets: a PNG of odd size, a JPEG that is upright by its EXIF orientation, a grey PNG."""
    folder = tmp_path_factory.mktemp("images")
    upright = Image.Exif()
    upright[0x0112] = 6
    sizes = ((131, 203), (120, 180), (96, 128))
    odd, turned, grey = (draw_scene(np.random.default_rng(seed), size)[0] for seed, size in enumerate(sizes))
    Image.fromarray(odd).save(folder / "odd.png")
    Image.fromarray(turned).save(folder / "turned.jpg", exif=upright)
    Image.fromarray(grey).convert("L").save(folder / "grey.png")
    return folder


def ids_of_predict(network: Path, image: Path, out: Path) -> np.ndarray:
    assert exit_status(main, "predict", str(network), str(image), "-o", str(out), "--no-overlay") == 0
    return np.array(Image.open(out / f"{image.stem}.png"))


@pytest.mark.parametrize("network", ["plain", "resized"])
def test_class_maps_are_those_of_predict(
    network: str, networks: Path, address: str, images: Path, tmp_path: Path
) -> None:
    with browser() as driver:
        page = Page(driver, f"{address}{network}/?on=wasm")
        assert "one thread" in page.text("engine")
        for image in sorted(images.iterdir()):
            page.open(image)
            assert page.text("error") == ""
            expected = ids_of_predict(networks / network, image, tmp_path / image.stem)
            found = IDS[page.class_map()]
            assert len(np.unique(found)) > 1
            assert found.shape == expected.shape
            assert (found == expected).mean() >= 0.999, image.name
            print(f"{network}, {image.name}: {page.text('times')!r}")


def test_a_page_of_one_size_and_threads(site: Path, images: Path) -> None:
    with served(site / "fixed", ISOLATED) as address, browser() as driver:
        page = Page(driver, f"{address}?on=wasm")
        assert "threads" in page.text("engine")
        page.open(images / "odd.png")
        threaded = page.class_map()
        assert threaded.shape == (131, 203)
        print(page.text("times"))
    with served(site / "fixed") as address, browser() as driver:
        page = Page(driver, address)
        page.open(images / "odd.png")
        assert (page.class_map() == threaded).mean() >= 0.999


def test_webgpu_gives_the_same(address: str, images: Path) -> None:
    """Chromium's own processor in place of a graphics card."""
    maps = {}
    for road in ("webgpu", "wasm"):
        with browser(*SOFTWARE_GPU) as driver:
            page = Page(driver, f"{address}plain/?on={road}")
            if road == "webgpu" and "which does not run here" in page.text("engine"):
                pytest.skip(f"no WebGPU in this Chromium: {page.text('engine')}")
            page.open(images / "grey.png")
            maps[road] = page.class_map()
    assert (maps["webgpu"] == maps["wasm"]).mean() >= 0.999


def test_a_slow_webgpu_is_not_taken(address: str) -> None:
    with browser(*SOFTWARE_GPU) as driver:
        assert "WebAssembly" in Page(driver, f"{address}plain/").text("engine")


def test_pixels_legend_and_slider_by_mouse_and_keyboard(address: str, images: Path) -> None:
    from selenium.webdriver import Keys

    with browser() as driver:
        page = Page(driver, f"{address}plain/")
        page.open(images / "odd.png")
        stage = driver.find_element("css selector", ".stage")
        said = driver.find_element("css selector", ".said")
        page.js("arguments[0].scrollIntoView({ block: 'center' })", stage)
        stage.click()
        row, column = 131 // 2, 203 // 2
        assert said.text.startswith(f"Row {row}, column {column}: ")
        k = page.class_map()[row, column]
        margin = page.js(f"return rtseg.viewer.result.margins[{row * 203 + column}]")
        assert f"(id {IDS[k]}), margin {margin:.2f}." in said.text
        stage.send_keys(Keys.ARROW_UP, Keys.SHIFT + Keys.ARROW_LEFT)
        assert said.text.startswith(f"Row {row - 1}, column {column - 10}: ")
        stage.send_keys(Keys.NULL, Keys.ESCAPE)
        assert said.text.startswith("Click")

        shares = [float(one.text.split()[0].lstrip("<")) for one in driver.find_elements("css selector", ".share")]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=1)
        first = driver.find_element("css selector", ".class")
        first.send_keys(Keys.SPACE)
        assert first.get_attribute("aria-pressed") == "true"
        shown = "const { data } = document.querySelector('.colours').getContext('2d').getImageData(0, 0, 203, 131);"
        clear = page.js(f"{shown} return data.filter((value, i) => i % 4 === 3 && value === 0).length")
        assert clear == pytest.approx(131 * 203 * (1 - shares[0] / 100), rel=0.01)

        slider = driver.find_element("css selector", "input[type=range]")
        slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        assert page.js("return document.querySelector('.colours').style.opacity") == "0.01"
        assert page.js("return document.querySelector('.strength output').textContent") == "1 %"


def test_each_control_is_reached_by_tab_and_says_what_it_is(address: str, images: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    with browser() as driver:
        page = Page(driver, f"{address}plain/")
        page.open(images / "odd.png")
        page.js("document.activeElement.blur()")
        reached = []
        for _ in range(9):
            ActionChains(driver).send_keys(Keys.TAB).perform()
            one = driver.switch_to.active_element
            reached.append(one.get_attribute("id") or one.get_attribute("class") or one.get_attribute("type"))
            assert one.accessible_name, reached
            outline = page.js(
                "const e = document.activeElement; return getComputedStyle(e.closest('.drop') ?? e).outlineStyle"
            )
            assert outline == "solid", reached
        assert reached[:5] == ["file", "example", "camera", "stage", "range"]
        assert driver.find_element("id", "status").get_attribute("aria-live") == "polite"


def test_a_film_runs_to_its_end(address: str, tmp_path: Path) -> None:
    drawn = [draw_scene(np.random.default_rng(seed), (96, 128))[0] for seed in range(4)]
    film = write_film(tmp_path / "film.mkv", [one for one in drawn for _ in range(5)])
    ffmpeg("-i", film, "-pix_fmt", "yuv420p", "-c:v", "libvpx", "-b:v", "1M", tmp_path / "film.webm")
    with browser("--autoplay-policy=no-user-gesture-required") as driver:
        page = Page(driver, f"{address}plain/")
        page.find("file").send_keys(str(tmp_path / "film.webm"))
        page.wait(lambda: page.find("error").is_displayed() or "has ended" in page.text("status"))
        assert page.text("error") == ""
        assert "images/s" in page.text("rate")
        assert int(page.text("rate").split()[0]) >= 4
        assert page.class_map().shape == (96, 128)
        assert not page.find("stop").is_displayed()
        print(page.text("status"), page.text("times"))


def test_the_camera(address: str) -> None:
    with browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as driver:
        page = Page(driver, f"{address}fixed/")
        page.find("camera").click()
        page.wait(lambda: page.find("error").is_displayed() or int((page.text("rate") or "0").split()[0]) >= 3)
        page.find("pause").click()
        assert page.text("pause") == "Go on"
        page.find("stop").click()
        page.wait(lambda: "has ended" in page.text("status"))
    with browser() as driver:
        page = Page(driver, f"{address}fixed/")
        page.find("camera").click()
        page.wait(lambda: page.find("error").is_displayed())
        assert "camera" in page.text("error")


ASKS = """navigator.mediaDevices.getUserMedia = () => new Promise((resolve) => (globalThis.allow = resolve))"""
ALLOWS = """const stream = document.createElement("canvas").captureStream(); allow(stream);
    return new Promise((resolve) => setTimeout(() => resolve(stream.getTracks()[0].readyState), 500))"""


def test_a_camera_that_nobody_allows_yet_holds_nothing_back(address: str, images: Path) -> None:
    with browser() as driver:
        page = Page(driver, f"{address}fixed/")
        page.js(ASKS)
        page.find("camera").click()
        page.wait(lambda: "camera" in page.text("status"))
        page.open(images / "odd.png")
        assert page.text("error") == ""
        assert page.class_map().shape == (131, 203)
        assert page.js(ALLOWS) == "ended", "nobody wants it any more"
        page.open(images / "grey.png")
        assert page.class_map().shape == (96, 128)


def test_what_is_given_last_counts(address: str, images: Path, tmp_path: Path) -> None:
    drawn = draw_scene(np.random.default_rng(0), (96, 128))[0]
    film = write_film(tmp_path / "film.mkv", [drawn] * 300)
    ffmpeg("-i", film, "-pix_fmt", "yuv420p", "-c:v", "libvpx", "-b:v", "1M", tmp_path / "film.webm")
    with browser("--autoplay-policy=no-user-gesture-required") as driver:
        page = Page(driver, f"{address}plain/")
        page.find("file").send_keys(str(tmp_path / "film.webm"))
        page.wait(lambda: "images/s" in page.text("rate"))
        page.open(images / "odd.png")
        page.wait(lambda: "odd.png" in page.text("status"))
        assert page.class_map().shape == (131, 203)
        assert not page.find("stop").is_displayed()


def test_what_is_no_image_is_a_sentence(address: str, tmp_path: Path, images: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    Image.new("L", (5000, 4000)).save(tmp_path / "large.png")
    with browser() as driver:
        page = Page(driver, f"{address}plain/")
        for name, says in {"text.png": "not an image", "cut.mp4": "cannot play", "large.png": "20.0 million"}.items():
            page.open(tmp_path / name)
            assert says in page.text("error")
            assert page.text("status") == ""
        page.open(images / "odd.png")
        assert page.text("error") == "", "the page goes on"


def test_on_a_phone_and_in_the_dark(address: str, images: Path) -> None:
    for dark in (False, True):
        with browser(dark=dark) as driver:
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": ON_PHONES[1], "height": ON_PHONES[0], "deviceScaleFactor": 1, "mobile": True},
            )
            page = Page(driver, f"{address}plain/")
            page.open(images / "odd.png")
            assert page.js("return document.documentElement.scrollWidth") <= ON_PHONES[1]
            for kind in ("body", ".soft", ".lead", ".share", ".buttons button", ".drop b"):
                assert contrast(page, kind) >= 4.5, (kind, dark)
            assert (luminance(page.js("return getComputedStyle(document.body).backgroundColor")) < 0.1) == dark
            heights = [one.size["height"] for one in driver.find_elements("css selector", "button")]
            assert all(not height or height >= 38 for height in heights), "a finger needs room"


def luminance(color: str) -> float:
    """Relative luminance of WCAG, of a computed colour."""
    values = np.array([float(part) for part in color.split("(")[1].rstrip(")").split(",")[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(page: Page, selector: str) -> float:
    """WCAG's ratio of a text and what is behind it."""
    text, behind = page.js(
        """let e = document.querySelector(arguments[0]); const text = getComputedStyle(e).color;
        while (getComputedStyle(e).backgroundColor === "rgba(0, 0, 0, 0)") e = e.parentElement;
        return [text, getComputedStyle(e).backgroundColor]""",
        selector,
    )
    low, high = sorted((luminance(text), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


SENDS = "fetch(ADDRESS).then(() => 'sent', () => 'blocked')"


def test_nothing_leaves_the_machine_and_it_works_offline(site: Path, images: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    with served(images, {"Access-Control-Allow-Origin": "*"}) as foreign, browser(f"--log-net-log={log}") as driver:
        with served(site / "plain") as address:
            page = Page(driver, address)
            page.open(images / "odd.png")
            before = page.class_map()
            page.wait(lambda: "without a connection" in page.text("engine"))
            send = SENDS.replace("ADDRESS", f"'{foreign}odd.png'")
            assert page.js(f"return {send}") == "blocked"
            in_thread = """const script = new Blob([`CODE.then(postMessage)`]);
                    const worker = new Worker(URL.createObjectURL(script));
                    return new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)))"""
            assert page.js(in_thread.replace("CODE", send)) == "blocked"
        page = Page(driver, address)  # the server is gone
        page.open(images / "odd.png")
        assert (page.class_map() == before).all()
        driver.get(foreign)
        assert page.js(f"return {send}") == "sent", "which the page's policy alone forbids"
    asked = requests(log, address)
    assert f"{address}runtime/ort-wasm-simd-threaded.wasm" in asked
    assert all(one.startswith((address, f"blob:{address}")) for one in asked), asked


def test_a_folder_that_is_written_anew(site: Path, tmp_path: Path) -> None:
    """A browser takes its own copies of files that are old, unless it is told to ask."""
    page = tmp_path / "page"

    def put(source: Path) -> None:
        shutil.rmtree(page, ignore_errors=True)
        for file in shutil.copytree(source, page).rglob("*"):
            os.utime(file, (0, time.time() - 10_000_000))

    put(site / "plain")
    with served(page) as address, browser() as driver:
        first = Page(driver, address)
        first.wait(lambda: "without a connection" in first.text("engine"))
        put(site / "fixed")
        assert Page(driver, address).js("return rtseg.network.input.size") == [96, 128]


def test_what_is_transparent_is_said(address: str, images: Path, tmp_path: Path) -> None:
    hidden = Image.open(images / "odd.png").convert("RGBA")
    hidden.putalpha(Image.linear_gradient("L").resize(hidden.size))
    hidden.save(tmp_path / "hidden.png")
    with browser() as driver:
        page = Page(driver, f"{address}plain/")
        page.open(images / "odd.png")
        assert "transparent" not in page.text("status")
        page.open(tmp_path / "hidden.png")
        assert "transparent in parts" in page.text("status")
        shown = "document.querySelector('.stage canvas').getContext('2d').getImageData(0, 0, 203, 131).data"
        assert page.js(f"return [...{shown}.slice(0, 4)]") == [0, 0, 0, 255], "as the network sees it"


def test_a_runtime_from_another_origin(
    networks: Path, runtime: Path, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on this machine in the CDN's place: the same road but for the address. Its files have the hashes."""
    with served(check_runtime(runtime), {"Access-Control-Allow-Origin": "*"}) as cdn:
        monkeypatch.setattr("rtseg.page.write.CDN", cdn)
        write_page(str(networks / "plain"), tmp_path / "page", size=(96, 128))
        log = tmp_path / "net.json"
        with served(tmp_path / "page") as address, browser(f"--log-net-log={log}") as driver:
            page = Page(driver, f"{address}?on=wasm")
            page.open(images / "odd.png")
            assert page.class_map().shape == (131, 203)
            page.wait(lambda: "without a connection" in page.text("engine"))
        asked = {one for one in requests(log, address) if not one.startswith((address, f"blob:{address}"))}
        assert asked == {f"{cdn}ort-wasm-simd-threaded.wasm", f"{cdn}ort.wasm.bundle.min.mjs"}


def test_an_exported_file_of_bytes(networks: Path, runtime: Path, tmp_path: Path, images: Path) -> None:
    export_file(str(networks / "plain"), tmp_path / "net.onnx")
    write_page(str(tmp_path / "net.onnx"), tmp_path / "page", runtime=runtime)
    with served(tmp_path / "page") as address, browser() as driver:
        page = Page(driver, address)
        page.open(images / "odd.png")
        expected = ids_of_predict(networks / "plain", images / "odd.png", tmp_path / "out")
        assert (IDS[page.class_map()] == expected).mean() >= 0.999


def test_a_runtime_of_another_hash_is_refused(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site / "plain", tmp_path / "page")
    module = tmp_path / "page" / "runtime" / "ort.wasm.bundle.min.mjs"
    module.write_bytes(module.read_bytes() + b"\n")
    with served(tmp_path / "page") as address, browser() as driver:
        page = Page(driver, f"{address}?on=wasm", starts=False)
        page.wait(lambda: page.find("error").is_displayed())
        assert "not the one that it must be" in page.text("error")
        assert not page.find("file").is_enabled()
