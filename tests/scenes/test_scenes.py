"""Generated scenes: exact masks, large classes that colour and place do not tell; and the layouts they go into."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.data.dataset import create_dataset, label_space
from rtseg.data.files import read_mask
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, iou
from rtseg.scenes import CLASSES, draw_scene, make_data
from rtseg.scenes.canvas import VOID, Canvas, ellipse, rectangle
from rtseg.scenes.subjects import SUBJECTS

DEMO_SIZE, SMALL = (192, 256), (96, 128)
TRAIN, UNSEEN = 60, 30
Scene = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([11, k]), DEMO_SIZE) for k in range(TRAIN + UNSEEN)]


def test_the_same_numbers_draw_the_same_scene() -> None:
    first, again, other = (draw_scene(np.random.default_rng(seed), SMALL) for seed in (3, 3, 4))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert (first[0] != other[0]).any()
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (150, 64), (64, 200)])
def test_any_size(size: tuple[int, int]) -> None:
    image, mask = draw_scene(np.random.default_rng(0), size)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((*size, 3), np.uint8, size, np.uint8)
    assert set(np.unique(mask)) <= set(range(len(CLASSES)))


def test_mask_and_colour_come_from_one_geometry() -> None:
    canvas = Canvas((40, 60))
    canvas.paint([rectangle(10, 5, 29, 24)], (1.0, 0, 0), 3, 7.0)
    canvas.paint([ellipse((45.3, 20.6), 9.2)], (0, 1.0, 0), 4, 5.0)
    canvas.paint([rectangle(0, 33, 59, 39)], (0, 0, 1.0), None, 5.0)  # a shadow labels nothing
    expected = np.full((40, 60), VOID)
    expected[5:25, 10:30] = 3
    expected[canvas.image[..., 1] >= 0.5] = 4
    assert (canvas.mask == expected).all()
    assert np.pi * 9**2 < (expected == 4).sum() < np.pi * 10**2
    assert (canvas.image[35] == (0, 0, 1)).all()
    assert (canvas.depth[expected == 3] == 7).all()


def test_a_nearer_wall_hides_and_an_open_texture_still_labels() -> None:
    canvas = Canvas((20, 20))
    canvas.wall(np.array([(0, 0), (19, 0), (19, 19), (0, 19)]), np.ones((8, 8, 3), np.float32), 1, (9.0, 9.0))
    see_through = np.zeros((8, 8, 4), np.float32)
    canvas.wall(np.array([(4, 4), (15, 6), (15, 13), (4, 15)]), see_through, 7, (2.0, 4.0))
    assert canvas.image[10, 10].tolist() == [1, 1, 1]
    assert canvas.mask[10, 10] == 7
    assert canvas.mask[1, 1] == 1
    assert 2 <= canvas.depth[10, 5] < canvas.depth[10, 14] <= 4


@pytest.mark.slow
def test_every_class_has_its_share(scenes: list[Scene]) -> None:
    counts = np.bincount(np.concatenate([mask.ravel() for _, mask in scenes]), minlength=256)
    shares = dict(zip(CLASSES, counts / counts.sum(), strict=False))
    assert min(shares.values()) >= 0.01, shares
    assert counts[VOID] == 0


@pytest.mark.slow
def test_colour_and_place_do_not_tell_the_class(scenes: list[Scene]) -> None:
    """A classifier of single pixels stays below 0.5 mIoU: to do better, a network has to look around."""
    train, unseen = _pixels(scenes[:TRAIN]), _pixels(scenes[TRAIN:])
    best = max(_perceptron(train, unseen), _histogram(train, unseen), key=lambda scores: float(scores.mean()))
    by_class = dict(zip(CLASSES, best.tolist(), strict=True))
    assert best.mean() < 0.45, by_class
    assert by_class["road"] > 0.5, "the classifier must be a real attempt"
    assert by_class["sky"] > 0.4


def _pixels(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Every fourth pixel both ways: (N, 5) of red, green, blue, x, y in -1..1, and (N,) classes."""
    images, masks = (torch.from_numpy(np.stack(part)[:, ::4, ::4]) for part in zip(*scenes, strict=True))
    y, x = torch.meshgrid(torch.linspace(-1, 1, images.shape[1]), torch.linspace(-1, 1, images.shape[2]), indexing="ij")
    places = torch.stack([x, y], -1).expand(*images.shape[:3], 2)
    return torch.cat([images / 127.5 - 1, places], -1).flatten(0, 2), masks.flatten().long()


def _best_balance(log_odds: Tensor, frequency: Tensor, truth: Tensor) -> Tensor:
    """IoU of each class at the best of five corrections for rare classes, chosen in its favour, on unseen pixels."""
    tried = [(log_odds - tau * frequency.log()).argmax(-1) for tau in (0.0, 0.25, 0.5, 0.75, 1.0)]
    scores = [iou(confusion_matrix(pred, truth, len(CLASSES))) for pred in tried]
    return max(scores, key=lambda score: float(score.mean()))


def _perceptron(train: tuple[Tensor, Tensor], unseen: tuple[Tensor, Tensor]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    features, classes = train
    frequency = classes.bincount(minlength=len(CLASSES)) / len(classes)
    net = nn.Sequential(nn.Linear(5, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, len(CLASSES)))
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=500)
    for _ in range(500):
        batch = torch.randint(len(classes), (2048,), generator=generator)
        loss = F.cross_entropy(net(features[batch]), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        return _best_balance(net(unseen[0]), frequency, unseen[1])


def _histogram(train: tuple[Tensor, Tensor], unseen: tuple[Tensor, Tensor]) -> Tensor:
    """Counts classes in cells of 6 levels each of red, green, blue and 6 x 6 places."""

    def cell(features: Tensor) -> Tensor:
        return ((features + 1) * 2.9999).long() @ torch.tensor([1, 6, 36, 216, 1296])

    features, classes = train
    frequency = classes.bincount(minlength=len(CLASSES)) / len(classes)
    counts = (cell(features) * len(CLASSES) + classes).bincount(minlength=6**5 * len(CLASSES)).view(-1, len(CLASSES))
    likely = counts + frequency  # an empty cell falls back on how common the classes are
    return _best_balance(likely[cell(unseen[0])].log(), frequency, unseen[1])


@pytest.mark.parametrize(
    ("layout", "ids"),
    [
        ("camvid", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}),
        ("cityscapes", {23, 11, 17, 7, 8, 21, 20, 13, 26, 24, 25}),
        ("ade20k", {3, 2, 94, 7, 12, 5, 44, 33, 21, 13, 128}),
    ],
)
def test_layouts_hold_scenes_in_the_ids_of_the_data_set(layout: str, ids: set[int], tmp_path: Path) -> None:
    make_data(layout, 12, tmp_path / "data", n_val=2, size=SMALL, seed=5)
    train, val = (create_dataset(layout, tmp_path / "data", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (12, 2)
    written = np.stack([read_mask(path) for _, path in train.pairs])
    assert set(np.unique(written).tolist()) == ids
    names = label_space(layout).names
    for split, dataset in enumerate((train, val)):
        sample, (image, mask) = dataset[1], draw_scene(np.random.default_rng([5, split, 1]), SMALL)
        for name in ("road", "building", "pole", "fence", "car"):
            assert ((sample.mask == names.index(name)) == (mask == CLASSES.index(name))).all()
        assert np.abs(np.asarray(sample.image, float) - image).mean() < 6  # JPEG, where the layout has it


def test_camvid_has_a_test_part_and_parts_differ(tmp_path: Path) -> None:
    make_data("camvid", 1, tmp_path / "data", n_val=1, size=SMALL)
    images = [create_dataset("camvid", tmp_path / "data", split)[0].image for split in ("train", "val", "test")]
    assert len({np.asarray(image).tobytes() for image in images}) == 3


def test_sizes_are_those_of_the_real_data(tmp_path: Path) -> None:
    sizes = {}
    for layout in ("camvid", "ade20k", "cityscapes"):
        make_data(layout, 2, tmp_path / layout, n_val=1)
        dataset = create_dataset(layout, tmp_path / layout, "train")
        sizes[layout] = [dataset[k].size for k in range(2)]
    assert sizes["camvid"] == [(360, 480)] * 2
    assert sizes["cityscapes"] == [(512, 1024)] * 2
    assert sizes["ade20k"][0] != sizes["ade20k"][1]


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    contents = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        root = make_data("ade20k", 2, tmp_path / folder, n_val=1, seed=seed)
        contents.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")})
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    assert all(contents[0][name] != contents[2][name] for name in contents[0])


def test_imagenet_has_a_folder_for_each_subject(tmp_path: Path) -> None:
    root = make_data("imagenet", 20, tmp_path / "data")
    for split, each in (("train", 2), ("val", 1)):
        files = {folder.name: sorted(folder.iterdir()) for folder in (root / split).iterdir()}
        assert files.keys() == {subject.wnid for subject in SUBJECTS}
        assert {len(paths) for paths in files.values()} == {each}
        assert all(
            path.suffix == ".JPEG" and cv2.imread(str(path)) is not None for paths in files.values() for path in paths
        )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    kept = tmp_path / "data" / "results.txt"
    kept.write_text("mine")
    with pytest.raises(UserError, match=r"data' is not empty, it holds results\.txt; .*give a new folder"):
        make_data("camvid", 2, tmp_path / "data", size=SMALL)
    with pytest.raises(UserError, match=r"results\.txt' is a file"):
        make_data("camvid", 2, kept, size=SMALL)
    assert kept.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_data("camvid", 1, tmp_path / "data", n_val=1, size=SMALL)
    assert len(create_dataset("camvid", tmp_path / "data", "train")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_interrupted_drawing_leaves_no_folder_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "data", []

    def interrupted(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
        calls.append(size)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw_scene(rng, size)

    with monkeypatch.context() as patch:
        patch.setattr("rtseg.scenes.layouts.draw_scene", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_data("camvid", 500, out, size=SMALL)
    assert len(calls) < 400, "what was not begun is dropped"
    assert not out.exists()
    make_data("camvid", 2, out, n_val=1, size=SMALL)
    assert len(create_dataset("camvid", out, "train")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_link_to_an_empty_folder_and_what_killed_commands_left(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / ".lock").touch()
    (tmp_path / ".there-unfinished" / "train").mkdir(parents=True)
    (tmp_path / ".there-unfinished" / "train" / "other.png").touch()
    (tmp_path / "link").symlink_to("there")
    make_data("camvid", 1, tmp_path / "link", n_val=1, size=(64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]
    assert [path.name for path in (tmp_path / "there" / "train").iterdir()] == ["scene_00000.png"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"'.*/file' cannot be written to: '.*/file' is a file"):
        make_data("camvid", 1, tmp_path / "file" / "data", size=SMALL)
    with pytest.raises(UserError, match=r"'/dev' is a file system of its own.*give a folder in it"):
        make_data("camvid", 1, "/dev", size=SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"layout": "citiscapes"},
            r"Did you mean 'cityscapes'\?.*ade20k, camvid, cityscapes, coco, imagenet, sceneflow",
        ),
        ({"n": 0}, r"n=0.*at least 1"),
        ({"n_val": 0}, r"n_val=0.*at least 1"),
        ({"layout": "imagenet", "n": 9}, r"n=9.*at least 10"),
        ({"size": (63, 200)}, r"63x200.*at least 64x64"),
        ({"seed": -1}, r"seed=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_data(**{"layout": "camvid", "n": 2, "out": tmp_path / "data", **arguments})
    assert not any(tmp_path.iterdir())
