"""What networks are called, so that no two of a report share a name."""

from rtseg.models.segmenter import Segmenter
from rtseg.speed.candidate import Candidate, files, short_paths


def test_a_path_is_as_short_as_tells_it_from_the_others() -> None:
    assert short_paths(["runs/a/best.ckpt"]) == ["best.ckpt"]
    assert short_paths(["runs/a/best.ckpt", "runs/b/best.ckpt", "net.onnx"]) == [
        "a/best.ckpt",
        "b/best.ckpt",
        "net.onnx",
    ]
    assert short_paths(["best.ckpt", "runs/best.ckpt"]) == ["best.ckpt", "runs/best.ckpt"]
    assert short_paths(["a/x", "a/x"]) == ["x", "x"]
    assert short_paths([]) == []


def test_candidates_of_one_name_are_numbered(shared_segmenter: Segmenter) -> None:
    first, second = (Candidate(shared_segmenter) for _ in range(2))
    named = Candidate(shared_segmenter, file="best.ckpt")
    found = files([first, first, named, second])
    assert [found[id(one)] for one in (first, second, named)] == ["no. 1", "no. 2", "best.ckpt"]
