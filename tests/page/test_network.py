"""`network.json` and the page's own files."""

import json

from rtseg.models.model_card import ModelCard
from rtseg.page.network import content_type, describe_network, static_files


def test_the_network_says_its_classes_as_overlays_show_them() -> None:
    card = ModelCard("net", "none", 2, class_names=("sky", "car"), palette=((128, 128, 128), (64, 0, 128)), ids=(7, 26))
    said = describe_network(card, "server", most_bytes=10)
    sky, car = said["classes"]
    assert sky == {"id": 7, "name": "sky", "color": [128, 128, 128]}
    assert car["id"] == 26
    assert car["color"] != [64, 0, 128], "too dark for an overlay"
    assert said["limits"]["bytes"] == 10
    assert json.loads(json.dumps(said)) == said


def test_classes_without_names_have_numbers() -> None:
    said = describe_network(ModelCard("net", "none", 3), "browser", graph={"file": "network.onnx"})
    assert [(one["id"], one["name"]) for one in said["classes"]] == [(0, "class 0"), (1, "class 1"), (2, "class 2")]
    assert said["graph"] == {"file": "network.onnx"}


def test_each_file_of_the_page_has_a_type() -> None:
    found = static_files()
    assert {"index.html", "style.css", "app.js", "service_worker.js"} <= found.keys()
    assert all(file.is_file() and content_type(name) for name, file in found.items())
