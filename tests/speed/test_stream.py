"""`rtseg benchmark --stream`: which frames are taken, which class map is scored against which, and what is refused."""

import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtseg.cli import main
from rtseg.data.dataset import LabelSpace, SegmentationDataset, create_dataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import load
from rtseg.deploy.runner import Runner
from rtseg.deploy.video.steady import Steady
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.scenes import make_data
from rtseg.speed import stream as module
from rtseg.speed.asked import Asked
from rtseg.speed.conditions import Conditions
from rtseg.speed.flicker import Flicker
from rtseg.speed.stream import Clock, Streamed, series, stream
from rtseg.speed.stream_command import run_stream
from tests.helpers.command import check_refused, exit_status

SIZE = (64, 80)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive") / "camvid"
    make_data("camvid", 2, folder, n_val=6, size=SIZE)
    return folder


@pytest.fixture(scope="module")
def frames(drive: Path) -> SegmentationDataset:
    return create_dataset("camvid", drive, "val")


# --- the clock: frames of 10 a second


def taken(seconds: list[float], fps: float = 10.0) -> list[tuple[int, int]]:
    """(frame, the one that is current when its class map is ready) of each prediction."""
    clock = Clock(fps)
    return [(clock.next, clock.take(one)) for one in seconds]


def test_a_fast_network_takes_every_frame_and_is_never_late() -> None:
    assert taken([0.05] * 4) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_slow_network_takes_the_newest_frame_when_it_is_free() -> None:
    assert taken([0.25, 0.25, 0.25]) == [(0, 2), (2, 5), (5, 7)]  # ready at 0.25, 0.5 and 0.75 s


def test_after_a_slow_frame_it_waits_for_no_frame_that_is_there() -> None:
    assert taken([0.35, 0.01, 0.01]) == [(0, 3), (3, 3), (4, 4)]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.floats(0.5, 120))
def test_no_frame_is_taken_twice_or_before_it_is_there(seconds: list[float], fps: float) -> None:
    found = taken(seconds, fps)
    assert all(current >= own for own, current in found)
    assert all(after == max(own + 1, current) for (own, current), (after, _) in itertools.pairwise(found))


# --- the score


def confusion(pairs: list[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
    """The pixels of all pairs of class map and mask, counted together."""
    return torch.stack([confusion_matrix(torch.from_numpy(a), torch.from_numpy(b), 11) for a, b in pairs]).sum(0)


def known(frames: SegmentationDataset) -> list[np.ndarray]:
    """What a network would say that knows each frame's mask."""
    return [np.minimum(frames[k].mask, 10) for k in range(len(frames))]


def played(frames: SegmentationDataset, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Streamed:
    """By a network that knows each frame's mask and takes so long, at 10 frames a second."""
    maps = known(frames)
    answers, clock = iter([maps[0]] * module._WARM_UP + maps), itertools.cycle([0.0, seconds])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    return stream([lambda _: next(answers)], frames, [10.0])[0]


def test_a_network_that_is_in_time_scores_as_plain(
    frames: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = played(frames, monkeypatch, 0.05)
    assert found.plain == found.played[0].mean_iou == 1
    assert (found.played[0].taken, found.played[0].behind) == (6, [0] * 6)


def test_a_late_network_is_scored_against_the_frame_that_is_current(
    frames: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame 0 is ready at frame 2, 2 at 5; 5 is taken, and ready after the last frame, so that it is not scored."""
    found = played(frames, monkeypatch, 0.25)
    own, maps = found.played[0], known(frames)
    wanted = confusion([(maps[0], frames[2].mask), (maps[2], frames[5].mask)])
    assert torch.equal(own.confusion, wanted)
    assert (own.taken, own.behind, own.frames) == (3, [2, 3], 6)
    assert own.mean_iou == mean_iou(wanted).item() < found.plain == 1


def test_frames_of_two_sizes_are_no_stream(frames: SegmentationDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SegmentationDataset.__getitem__

    def cut(self: SegmentationDataset, k: int) -> object:
        sample = whole(self, k)
        return sample._replace(size=(32, 40)) if k == 3 else sample

    monkeypatch.setattr(SegmentationDataset, "__getitem__", cut)
    with pytest.raises(UserError, match="32x40 and the first frame 64x80"):
        stream([lambda image: np.zeros(image.shape[:2], np.uint8)], frames, [10.0])


def test_a_steadied_stream_follows_the_frames_that_it_takes(
    frames: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steadying takes as long as predicting here, and counts. At 10 a second frames 0 and 2 are taken, and 4."""
    draw, given = np.random.default_rng(5), []
    for _ in range(6):
        logits = torch.from_numpy(draw.normal(size=(1, 11, 8, 10)).astype(np.float32)) / 2
        given.append(Prediction(class_map(logits, SIZE)[0].numpy(), [], [], logits))
    answers, clock = iter([given[0]] * module._WARM_UP + given), itertools.cycle([0.0, 0.1])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "Steady", partial(Steady, still=256))  # nothing moves
    monkeypatch.setattr("rtseg.speed.flicker.STILL", 256)
    (found,) = stream([lambda _: next(answers)], frames, [10.0])

    def steadied(numbers: range) -> list[np.ndarray]:
        steady = Steady(still=256)
        return [steady.next(frames[k].image, given[k]) for k in numbers]

    whole, masks = steadied(range(6)), [frames[k].mask for k in range(6)]
    taken = steadied(range(0, 6, 2))
    assert found.seconds == [0.2] * 6
    assert found.plain == mean_iou(confusion(list(zip(whole, masks, strict=True)))).item()
    own = found.played[0]
    assert (own.taken, own.behind) == (3, [2, 2])
    assert torch.equal(own.confusion, confusion([(taken[0], masks[2]), (taken[1], masks[4])]))
    changed = sum(int((one != two).sum()) for one, two in itertools.pairwise(whole))
    assert found.flicker == changed / (5 * SIZE[0] * SIZE[1]) > 0


def test_flicker_is_that_of_pixels_that_do_not_move() -> None:
    flicker, image, classes = Flicker(), np.full((20, 40, 3), 100, np.uint8), np.zeros((20, 40), np.uint8)
    flicker.add(image, classes)
    assert flicker.share is None
    moved, other = image.copy(), classes.copy()
    moved[:, 20:] = 104  # from the average of the columns 18 to 22 on, with rounding: from column 22 on
    other[:, :10] = other[:, 30:] = 1
    flicker.add(moved, other)
    assert flicker.share == 10 / 22
    flicker.add(moved, other)
    assert flicker.share == 200 / (20 * 22 + 20 * 40)
    assert flicker.still == (22 / 40 + 1) / 2  # the median of two pairs


def test_frames_are_in_the_order_of_their_numbers() -> None:
    assert series(["a/0016E5_07959", "a/0016E5_07961", "a/0016E5_10000"]) == ["a/0016E5_"]
    assert series(["a_1_left", "a_2_left", "b_0_left", "street"]) == ["a_", "b_", "street"]
    with pytest.raises(UserError, match="'frame_10' comes before 'frame_9'"):
        series(["frame_1", "frame_10", "frame_9"])


# --- the command


def test_it_scores_as_the_predictor_does(
    drive: Path, frames: SegmentationDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "net"
    create_model("rtformer_slim", 11, base_channels=8, spp_channels=16, head_channels=8).save_pretrained(net)
    asked = Asked([str(net)], backends=["eager"])
    run_stream(asked, Conditions(device="cpu"), drive, "camvid", [0.01, 10000.0], tmp_path / "stream.json", steady=True)
    document = json.loads((tmp_path / "stream.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == document
    slow, fast, steady, late = document["rows"]
    predictor, samples = load(net, engine="eager"), [frames[k] for k in range(len(frames))]
    plain = mean_iou(confusion([(predictor(one.image), one.mask) for one in samples])).item()
    assert slow["miou"] == slow["stream_miou"] == fast["miou"] == plain
    assert (slow["frames_taken"], slow["frames_behind"]) == (6, 0)
    assert (fast["frames_taken"], fast["stream_miou"]) == (1, None)  # it is ready when all others have gone by
    assert [row["steady"] for row in document["rows"]] == [False, False, True, True]
    assert (slow["flicker"], steady["flicker"]) == (fast["flicker"], late["flicker"])
    assert steady["flicker"] <= slow["flicker"]
    own, predictions = Steady(), map(predictor.prediction_of, (one.image for one in samples))
    maps = [own.next(one.image, found) for one, found in zip(samples, predictions, strict=True)]
    assert (
        steady["miou"] == mean_iou(confusion([(one, two.mask) for one, two in zip(maps, samples, strict=True)])).item()
    )


def test_an_engine_of_class_maps_alone_has_plain_rows(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_model("rtformer_slim", 11, base_channels=8, spp_channels=16, head_channels=8).save_pretrained(tmp_path)
    monkeypatch.setattr(Runner, "has_source_margins", False)
    monkeypatch.setattr("rtseg.speed.stream_command._FILM", 1.01)  # so that no frames are a film
    run_stream(
        Asked([str(tmp_path)], backends=["eager"]), Conditions(device="cpu"), drive, "camvid", [15.0], steady=True
    )
    shown = capsys.readouterr()
    assert "without steady masks of eager: --steady needs logits or margins" in shown.err
    assert "of the pixels stand still between neighbouring frames" in " ".join(shown.err.split())
    assert [row["steady"] for row in json.loads(shown.out.splitlines()[0])["rows"]] == [False]


def test_networks_that_cannot_be_scored_are_refused(
    drive: Path,
    shared_segmenter: Segmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conditions = Conditions(device="cpu")
    with pytest.raises(UserError, match="no trained weights"):
        run_stream(Asked(["rtformer_slim"], num_classes=11), conditions, drive, "camvid", [15.0])
    shared_segmenter.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="has 5 classes, the frames have 11"):
        run_stream(Asked([str(tmp_path / "other")]), conditions, drive, "camvid", [15.0])
    made = create_dataset("camvid", drive, "val")
    labels = made.labels
    made.channels, made.labels = 4, LabelSpace(labels.names[:5], labels.palette[:5], labels.ids[:5])
    monkeypatch.setattr("rtseg.speed.stream_command.create_dataset", lambda *_: made)
    with pytest.raises(UserError, match="takes RGB of 8 bits, the frames have 4 channels"):
        run_stream(Asked([str(tmp_path / "other")]), conditions, drive, "camvid", [15.0])
    with pytest.raises(UserError, match="--steady looks for motion in RGB of 8 bits"):
        run_stream(Asked([str(tmp_path / "other")]), conditions, drive, "camvid", [15.0], steady=True)
    with pytest.raises(UserError, match=r"--fps 0\.0 must be from 0\.01"):
        run_stream(Asked([str(tmp_path / "other")]), conditions, drive, "camvid", [0.0])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--fps", "30"), "give its folder, too, with --stream"),
        (("--steady",), "--steady is of a stream"),
        (("--stream", ".", "--seconds", "0"), "--seconds does not go with --stream"),
        (("--stream", ".", "--protocol", "rtseg"), "--protocol does not go with --stream"),
        (("--stream", ".", "--num-classes", "11"), "--num-classes does not go with --stream"),
        (("--stream", ".", "--memory"), "--memory does not go with --stream"),
        (("--stream", "nowhere"), "nowhere"),
    ],
)
def test_options_that_do_not_go_together(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(exit_status(main, "benchmark", *words), says, capsys)
