"""The answers of `rtseg serve` to images are those of `rtseg predict`."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.drawing.margin_png import thousandths
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.serve.limits import Limits
from rtseg.serve.openapi import document
from tests.helpers.server import SEGMENT, Client, served, until


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, engine="eager", device="cpu")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[Client]:
    with served(predictor, Limits(body=20_000, pixels=10_000, receive=0.3)) as client:
        yield client


def image(kind: str = "PNG", size: tuple[int, int] = (40, 56), **options: Any) -> bytes:
    """The file of an image whose colours follow its rows and columns."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    pixels = np.stack((rows * 255 // size[0], columns * 255 // size[1], (rows * columns) % 256), -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    """A photograph that lies on its side, as its EXIF tag says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return image("JPEG", exif=exif)


IMAGES = {"turned.jpg": turned(), "plain.png": image(), "plain.webp": image("WEBP"), "plain.bmp": image("BMP")}


def test_class_maps_are_the_files_of_predict(client: Client, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, data in IMAGES.items():
        (tmp_path / "images" / name).write_bytes(data)
        predict_files(predictor, [tmp_path / "images" / name], tmp_path / name, outputs=Outputs(overlays=False))
        answer = client.segment(data)
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/png"
        (written,) = (tmp_path / name).glob("*.png")
        assert answer.body == written.read_bytes(), name


def test_json_has_the_areas_and_outlines(client: Client, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "turned.jpg").write_bytes(turned())
    found = predictor.predict(tmp_path / "turned.jpg")
    answer = client.segment(turned(), "?result=json&polygons=true").json
    assert (answer["height"], answer["width"]) == (56, 40), "upright"
    assert set(answer["milliseconds"]) == {"waiting", "decoding", "network"}
    assert len(answer["classes"]) > 1
    for one, area in zip(answer["classes"], found.areas, strict=True):
        expected = (predictor.card.ids[area.number], area.name, area.pixels, area.share)
        assert (one["id"], one["name"], one["pixels"], one["share"]) == expected
        assert one["polygons"] == json.loads(json.dumps(found.polygons(area.number, edges=True)))
    assert "polygons" not in client.segment(turned(), "?result=json").json["classes"][0]


def test_raw_results_have_class_numbers_and_margins(client: Client, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "turned.jpg").write_bytes(turned())
    found = predictor.predict(tmp_path / "turned.jpg")
    answer = client.segment(turned(), "?result=raw")
    assert answer.headers["x-size"] == "56 40"
    assert answer.headers["x-margin"] == "1"
    assert set(json.loads(answer.headers["x-milliseconds"])) == {"waiting", "decoding", "network", "encoding"}
    numbers, margins = answer.body[: 56 * 40], answer.body[56 * 40 :]
    assert numbers == found.class_map.tobytes()
    assert (np.frombuffer(margins, "<u2").reshape(56, 40) == thousandths(found.margin)).all()


REFUSED = {  # an image, or what is none -> status, and what the sentence names
    b"": (400, "no body"),
    b"MZ" + bytes(100): (415, "a program"),
    b"PK\x03\x04" + bytes(100): (415, "a zip archive"),
    b"\x1f\x8b" + bytes(100): (415, "a gzip archive"),
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": (415, "a drawing (SVG)"),
    b"<!doctype html><p>": (415, "a web page"),
    b"GIF89a" + bytes(100): (415, "PNG, JPEG, BMP, WebP or TIFF"),
    b"\0\0\0\x18ftypmp42" + bytes(100): (415, "this is a film"),
    b"\0\0\0\x18ftypavif" + bytes(100): (415, "AVIF"),
    image()[:-30]: (422, "truncated"),
    turned()[:-30]: (422, "truncated"),
    image(size=(101, 100)): (413, "100x101 pixels"),
    image("BMP", (100, 70)): (413, "20,000 bytes"),
    image("TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]): (422, "2 pages"),
    b"\xff\xd8" + b"\xff\xda\0\2" * 101 + turned()[2:]: (422, "scans"),
}


def test_what_is_no_image_gets_a_sentence(client: Client) -> None:
    for data, (status, named) in REFUSED.items():
        answer = client.segment(data)
        assert answer.status == status, (data[:20], answer.body)
        assert named in answer.error
        assert str(Path.cwd()) not in answer.error


def test_headers_and_addresses_that_are_refused(client: Client) -> None:
    good = image()
    for query in ("?result=jpg", "?result=", "?polygons=1&result=json", "?polygons=true", "?path=/etc/passwd",
                  "?result=png&result=raw", "?url=http://127.0.0.1/"):  # fmt: skip
        answer = client.segment(good, query)
        assert answer.status == 400, query
        assert "passwd" not in answer.error
    assert "compressed" in client.segment(good, Content_Encoding="gzip").error
    assert "a form" in client.segment(good, Content_Type="multipart/form-data; boundary=x").error
    for address in ("/nothing", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/\\..", "/a%00b"):
        assert client.ask("GET", address).status == 404, address
    answer = client.ask("GET", SEGMENT)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "takes the method POST, not GET" in answer.error
    assert "takes the method GET or HEAD, not POST: images go to POST /api/segment" in client.ask("POST", "/").error
    form = "application/x-www-form-urlencoded"  # what curl says of any body
    assert client.segment(good, Content_Type=form).status == 200
    answer = client.segment(good.translate(None, b"\0\r\n"), Content_Type=form)  # as `curl -d @FILE` sends it
    assert (answer.status, "--data-binary @FILE" in answer.error) == (415, True)
    answer = client.ask("OPTIONS", SEGMENT)
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "POST, OPTIONS", b"")
    assert "access-control-allow-origin" not in answer.headers
    answer = client.ask("GET", "/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert answer.status == 400
    assert "websockets" in answer.error
    answer = client.segment(good, Transfer_Encoding="nonsense")
    assert answer.status in (400, 501)


def test_a_domain_that_stands_for_loopback_is_refused(client: Client) -> None:
    for host in ("evil.example:8000", "evil.example", "127.0.0.1.nip.example:80"):
        answer = client.ask("GET", "/network.json", headers={"Host": host})
        assert answer.status == 421, host
        assert "127.0.0.1" in answer.error
    for host in ("127.0.0.1:8000", "localhost:8000", "a.localhost", "[::1]:8000", "workstation"):
        assert client.ask("GET", "/network.json", headers={"Host": host}).status == 200, host


def test_a_body_that_does_not_arrive_is_refused(client: Client) -> None:
    head = f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\n"
    answer = client.raw(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
    assert answer is not None
    assert answer.status == 408
    assert "0.3 seconds" in answer.error
    answer = client.raw(f"{head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n".encode())
    assert answer is not None
    assert answer.status == 400
    answer = client.raw(
        f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1".encode()
    )
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    answer = client.raw(f"{head}Content-Length: {2**40}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert answer is not None
    assert answer.status == 413
    answer = client.raw(b"\x16\x03\x01 this is TLS\r\n\r\n")
    assert answer is not None
    assert answer.status == 400
    until(lambda: client.running.server.held == 0)


def test_what_a_server_says_of_itself(client: Client, predictor: Predictor) -> None:
    health = client.ask("GET", "/health").json
    assert {key: health[key] for key in ("status", "network", "engine", "waiting")} == {
        "status": "ok", "network": "rtformer_slim", "engine": "eager", "waiting": 0,
    }  # fmt: skip
    network = client.ask("GET", "/network.json").json
    assert (network["engine"], network["model"]) == ("server", "rtformer_slim")
    assert network["limits"] == {"bytes": 20_000, "pixels": 10_000}
    ids = list(predictor.card.ids)
    assert [(one["id"], one["name"]) for one in network["classes"]] == list(
        zip(ids, predictor.class_names, strict=True)
    )
    example = client.ask("GET", "/" + network["example"]["file"]).body
    assert client.segment(example).status == 200
    answer = client.ask("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = client.ask("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert client.ask("GET", "/server_engine.js").headers["content-type"].startswith("text/javascript")
    unchanged = client.ask("GET", "/", headers={"If-None-Match": page.headers["etag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_the_description_is_that_of_the_addresses(client: Client) -> None:
    found = client.ask("GET", "/openapi.json").json
    assert found == json.loads(json.dumps(document(Limits(body=20_000, pixels=10_000, receive=0.3))))
    assert found["openapi"] == "3.1.0"
    assert {"title", "version"} <= found["info"].keys()
    for path, methods in found["paths"].items():
        allowed = client.ask("OPTIONS", path).headers["allow"].lower()
        assert set(methods) == set(allowed.split(", ")) - {"head", "options"}
        for operation in methods.values():
            assert all(re.fullmatch(r"\d{3}", status) and one["description"] for status, one in
                       operation["responses"].items())  # fmt: skip
    text = json.dumps(found)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in found["components"]["schemas"]
    assert {str(status) for status, _ in REFUSED.values()} <= found["paths"][SEGMENT]["post"]["responses"].keys()
    _check(found, client.segment(image(), "?result=json&polygons=true").json, "Result")
    _check(found, client.ask("GET", "/health").json, "Health")
    _check(found, client.segment(b"").json, "Error")


def _check(document: Any, value: Any, name: str) -> None:
    """Whether a value has the keys of a schema, and values of their types."""
    types: dict[str, Any] = {"integer": int, "number": (int, float), "string": str, "array": list, "object": dict}
    schema = document["components"]["schemas"][name]
    assert set(schema["required"]) <= value.keys() <= set(schema["properties"])
    for key, one in value.items():
        part = schema["properties"][key]
        assert one == part["const"] if "const" in part else isinstance(one, types[part["type"]])
        for entry in one if isinstance(one, list) and "$ref" in part["items"] else []:
            _check(document, entry, part["items"]["$ref"].rpartition("/")[2])
