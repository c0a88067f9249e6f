"""The tiny network of the deployment tests, measured here."""

from tests.deploy.conftest import class_map_graph, logits_graph, segmenter, shared_segmenter  # noqa: F401
