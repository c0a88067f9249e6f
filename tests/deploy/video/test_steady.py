"""Steady class maps: the rule by hand and against a slow one, the film in order, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rtseg.cli import main
from rtseg.deploy.class_map import class_map, class_map_and_margin
from rtseg.deploy.class_map.leads import leads
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.runner import Runner
from rtseg.deploy.video.steady import LEAD, STILL, Steady, check_steady, smooth_grey
from rtseg.deploy.windows.tiling import tiling
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.command import check_refused, exit_status
from tests.helpers.films import read_ids, write_film

SIZE = (20, 27)


def found(logits: torch.Tensor, size: tuple[int, int], between: tuple[int, int] | None = None) -> Prediction:
    """What a network says whose logits are these, (K, h, w)."""
    classes = class_map(logits[None], size, between=between)[0].numpy()
    return Prediction(classes, [], [], logits[None], between)


def drawn(frames: int, classes: int = 4) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Frames that move here and there, and logits of a third of their sides; all of them close to each other."""
    draw = np.random.default_rng(7)
    image, logits = draw.integers(0, 230, (*SIZE, 3)).astype(float), draw.normal(size=(classes, 7, 9))
    moving = np.zeros((*SIZE, 1), bool)
    moving[5:12, 3:20] = True
    made = []
    for _ in range(frames):
        image = image + draw.integers(-2, 3, image.shape) + 30 * moving * draw.integers(-1, 2)
        logits = logits + draw.normal(size=logits.shape) / 2
        made.append((np.clip(image, 0, 255).astype(np.uint8), torch.from_numpy(logits.astype(np.float32))))
    return made


# --- the rule


def wide(levels: list[int]) -> np.ndarray:
    """(1, 12 N, 3): twelve pixels of each grey."""
    return np.repeat(np.repeat(np.array(levels, np.uint8), 12)[None, :, None], 3, 2)


def middles(steady: Steady, levels: list[int], second: list[float]) -> list[int]:
    """The classes in the middle of each twelve pixels, where class 0 has the logit 0 and class 1 these."""
    logits = torch.zeros(2, 1, 12 * len(second))
    logits[1] = torch.tensor(second).repeat_interleave(12)
    return steady.next(wide(levels), found(logits, (1, 12 * len(second))))[0, 6::12].tolist()


def test_a_class_gives_way_to_a_lead_or_a_motion() -> None:
    assert STILL == 4
    assert 0.69 < LEAD < 0.7
    steady = Steady()
    assert middles(steady, [50, 50, 50, 50], [-1, -1, -1, 1]) == [0, 0, 0, 1]
    # a small lead; a large one; a small one where the grey moves by 4; a small one back, where it moves by 3
    assert middles(steady, [50, 50, 54, 53], [0.69, 0.7, 0.1, -0.1]) == [0, 1, 1, 1]
    # the first has kept its class since it was 50, and is 53 now; the others have the classes that the network gives
    assert middles(steady, [53, 50, 54, 54], [0.5, 0.5, 0.5, -0.5]) == [0, 1, 1, 0]
    # moving on by one each time: 54 is too far from 50, where the network gave the class
    assert middles(steady, [54, 50, 54, 54], [0.5, 0.5, 0.5, -0.5]) == [1, 1, 1, 0]


def test_the_rule_is_that_of_upsampled_logits() -> None:
    frames = drawn(12)
    for between in (None, (14, 20)):
        steady, before, reference, kept = Steady(), np.empty(0, int), np.empty(0, int), 0
        for number, (image, logits) in enumerate(frames):
            step = logits[None] if between is None else F.interpolate(logits[None], between, mode="bilinear")
            values = F.interpolate(step, SIZE, mode="bilinear")[0].numpy()
            expected, grey = values.argmax(0), smooth_grey(image).astype(int)
            if number:
                lead = values.max(0) - np.take_along_axis(values, before[None], 0)[0]
                keep = (lead < LEAD) & (abs(grey - reference) < STILL)
                kept += (keep & (before != expected)).sum()
                expected, grey = (
                    np.where(keep, before, expected),
                    np.where(keep & (before != expected), reference, grey),
                )
            before, reference = expected, grey
            assert np.array_equal(steady.next(image, found(logits, SIZE, between)), expected)
        assert kept > 100


def test_a_lead_of_nothing_leaves_the_class_maps_and_a_still_film_has_one() -> None:
    frames, steady, moves, still = drawn(8), Steady(0), Steady(still=0), Steady()
    first = found(frames[0][1], SIZE)
    for image, logits in frames:
        one = found(logits, SIZE)
        assert np.array_equal(steady.next(image, one), one.class_map)
        assert np.array_equal(moves.next(image, one), one.class_map)
        assert np.array_equal(still.next(frames[0][0], first), first.class_map)
    other = found(frames[0][1], (9, 9))
    assert np.array_equal(still.next(frames[0][0][:9, :9], other), other.class_map), "another size begins anew"


def test_class_maps_are_the_callers_own() -> None:
    (image, logits), (_, after) = drawn(2)
    steady, other = Steady(), Steady()
    one, two = found(logits, SIZE), found(after, SIZE)
    steady.next(image, one)[:] = 3
    other.next(image, one)
    assert np.array_equal(steady.next(image, two), other.next(image, two))
    assert np.array_equal(two.class_map, found(after, SIZE).class_map)


def test_leads_are_margins_where_the_second_best_is_meant() -> None:
    logits = drawn(1)[0][1].to(memory_format=torch.contiguous_format)
    for size, between in ((SIZE, None), (SIZE, (14, 20)), ((5, 4), None), ((7, 9), None)):
        step = logits[None] if between is None else F.interpolate(logits[None], between, mode="bilinear")
        order = F.interpolate(step, size, mode="bilinear")[0].numpy().argsort(0, kind="stable").reshape(4, -1)
        at = np.arange(size[0] * size[1])
        margins = class_map_and_margin(logits[None], size, between=between)[1][0].numpy().reshape(-1)
        assert np.allclose(leads(logits[None], size, at, order[-1], order[-2], between=between), margins, atol=1e-6)


def test_margins_without_logits_keep_where_they_are_small() -> None:
    image, classes = np.zeros((1, 2, 3), np.uint8), np.array([[0, 0]], np.uint8)
    steady, margins = Steady(), np.array([[0.5, 0.8]], np.float32)
    steady.next(image, Prediction(classes, [], [], file_margin=margins))
    assert steady.next(image, Prediction(classes + 1, [], [], file_margin=margins)).tolist() == [[0, 1]]
    with pytest.raises(UserError, match="there is no margin for an image of 1x2"):
        steady.next(image, Prediction(classes, [], [], file_size=(8, 8)))


# --- the film


def test_the_frames_of_a_film_are_steadied_in_order(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    segmenter.card = replace(segmenter.card, ids=(0, 1, 2, 3, 4))
    monkeypatch.setattr("rtseg.deploy.folder.lanes.torch.get_num_threads", lambda: 4)
    predictor, draw = Predictor(segmenter, device="cpu", engine="eager"), np.random.default_rng(1)
    images = [
        np.clip(texture((48, 64)) + draw.integers(-12, 13, (48, 64, 3)), 0, 255).astype(np.uint8) for _ in range(24)
    ]
    film = write_film(tmp_path / "a.mkv", images, "-pix_fmt", "bgr0")
    assert predict_files(predictor, [film], tmp_path / "out", outputs=Outputs(overlays=False, steady=True)) == {}
    steady, predictions = Steady(), [predictor.prediction_of(image) for image in images]
    expected = np.stack([steady.next(*pair) for pair in zip(images, predictions, strict=True)])
    assert np.array_equal(read_ids(tmp_path / "out" / "a_classes.mkv", (48, 64), np.uint8), expected)
    plain = np.stack([one.class_map for one in predictions])
    assert (np.diff(expected.astype(int), axis=0) != 0).sum() < 0.5 * (np.diff(plain.astype(int), axis=0) != 0).sum()
    assert json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[1])["steady"] is True


def test_what_cannot_be_steadied_is_refused(
    shared_segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--tile does not keep"):
        check_steady(Predictor(shared_segmenter, device="cpu", tiles=tiling((32, 32), None)))
    shared_segmenter.save_pretrained(tmp_path / "net")
    (tmp_path / "a.png").write_bytes(b"")
    words = ("predict", str(tmp_path / "net"), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--steady")
    check_refused(exit_status(main, *words), "--steady is of films, and", capsys)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()
    monkeypatch.setattr(Runner, "has_source_margins", False)
    with pytest.raises(UserError, match="puts out class maps alone"):
        Outputs(steady=True).check(Predictor(shared_segmenter, device="cpu"))
