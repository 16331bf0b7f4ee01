"""Images and label maps: the layouts of VOC, LIP and CIHP, what a mirror does, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.sources.label_folders import LabelFolder
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.appearance import CLASSES
from selfsup_motion.data.toy.scene import LIMBS
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.palette import palette
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose

THREE = LabelClasses(["background", "left", "right"], [("left", "right")])
CAMVID = LabelClasses(
    ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
     "bicyclist"],
    [],
)  # fmt: skip


def write(root: Path, name: str, labels: np.ndarray, *, palette: bool = True) -> None:
    """An image `images/<name>.jpg` and its label map `labels/<name>.png`."""
    for folder in ("images", "labels"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 255, (*labels.shape, 3), np.uint8)
    cv2.imwrite(str(root / "images" / f"{name}.jpg"), image)
    saved = Image.fromarray(labels)
    if palette:
        saved = saved.convert("P") if saved.mode != "L" else saved
        saved.putpalette(list(range(256)) * 3)
    saved.save(root / "labels" / f"{name}.png")


def folder_of(root: Path, **changes) -> LabelFolder:
    options = {"images": "images", "labels": "labels", "listing": None, "void": 255}
    return LabelFolder(root, **{"classes": THREE, **options, **changes})


@pytest.fixture
def maps(tmp_path) -> Path:
    labels = np.zeros((20, 30), np.uint8)
    labels[:, :9], labels[:5] = 1, 255
    write(tmp_path, "a", labels)
    write(tmp_path, "sub/b", labels * 0 + 2, palette=False)
    return tmp_path


def test_image_and_labels_are_one_clip(maps):
    source = folder_of(maps)
    assert len(source) == 1, "a folder is not searched below"
    clip = pickle.loads(pickle.dumps(source)).read(0, [0])
    assert (clip.key, clip.frames.shape) == ("a", (1, 3, 20, 30))
    assert clip.labels["semantic"].dtype == np.uint8
    np.testing.assert_array_equal(np.unique(clip.labels["semantic"]), [0, 1, VOID])
    assert source.info(0).height == 20
    assert source.name(0).endswith("images/a.jpg")
    with pytest.raises(ClipReadError, match="it has no frame 3"):
        source.read(0, [3])


@pytest.mark.parametrize(
    "lines",
    [
        "a\n\nsub/b\n",
        "a.jpg\nsub/b\n",
        "/images/a.jpg /labels/a.png\n/images/sub/b.jpg /labels/sub/b.png\n",
    ],
)
def test_lists_hold_names_or_pairs_of_paths(maps, lines):
    (maps / "list.txt").write_text(lines)
    source = folder_of(maps, listing="list.txt")
    assert [source.read(i, [0]).key for i in range(len(source))] == ["a", "sub/b"]
    assert (source.read(1, [0]).labels["semantic"] == 2).all()


@pytest.mark.parametrize("there", ["training", "Train", "TRAIN_SET"])
def test_folders_that_are_called_alike_are_found(tmp_path, there):
    write(tmp_path / there, "a", np.zeros((20, 30), np.uint8))
    options = {"images": "Training/Images", "labels": "Training/labels"}
    (tmp_path / there / "list.txt").write_text("a\n")
    source = folder_of(tmp_path, listing="Training/list.txt", **options)
    assert source.read(0, [0]).key == "a"
    assert source.name(0) == str(tmp_path / there / "images/a.jpg")
    (tmp_path / "train_images").mkdir()  # which of the two?
    if there != "training":
        with pytest.raises(UserError, match="Training/"):
            folder_of(tmp_path, **options)
    with pytest.raises(UserError, match=r"holds no label maps \(\.png\), but folders \("):
        folder_of(tmp_path, images=".", labels=".")


def test_another_void_id_becomes_ours(maps):
    write(maps, "c", np.full((4, 4), 11, np.uint8))
    source = folder_of(maps, void=11)
    assert (source.read(1, [0]).labels["semantic"] == VOID).all()
    with pytest.raises(UserError, match=r"a.png has class 255: expected 0 to 2, or 11 for void"):
        source.read(0, [0])


def test_ids_that_are_no_class_name_the_file(maps):
    write(maps, "a", np.full((20, 30), 3, np.uint8))
    with pytest.raises(UserError, match=r"labels/a.png has class 3: expected 0 to 2"):
        folder_of(maps).read(0, [0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("colour", r"is a colour image \(RGB\)"),
        ("lossy", "is a JPEG, which changes class ids"),
        ("black", r"index 0 of its palette is \(128, 0, 0\), black is index 1"),
        ("order", "has the colours of VOC and DAVIS in another order"),
    ],
)
def test_label_maps_that_are_no_ids_are_refused(maps, kind, expected):
    ids = np.zeros((20, 30), np.uint8)
    ids[5:15, 5:15] = 2
    image = Image.fromarray(palette()[ids] if kind == "colour" else ids)
    if kind == "black":
        image = Image.fromarray((ids == 0).astype(np.uint8))
        image.putpalette([128, 0, 0, 0, 0, 0])
    elif kind == "order":
        image.putpalette(palette()[[0, 2, 1]].tobytes())
    image.save(maps / "labels/a.png", format="JPEG" if kind == "lossy" else "PNG")
    with pytest.raises(UserError, match=f"labels/a.png.*{expected}"):
        folder_of(maps).read(0, [0])


def test_ids_that_are_stored_as_grey_rgb_are_read(maps):
    ids = np.zeros((20, 30), np.uint8)
    ids[5:15, 5:15] = 2
    Image.fromarray(np.dstack([ids] * 3)).save(maps / "labels/a.png")
    np.testing.assert_array_equal(folder_of(maps).read(0, [0]).labels["semantic"][0], ids)


def test_sizes_that_differ_name_both_files(maps):
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(maps / "labels/a.png")
    with pytest.raises(UserError, match=r"labels/a.png has 31x20 pixels and its image .*a.jpg 30x"):
        folder_of(maps).read(0, [0])


def test_damaged_files_can_be_counted(maps):
    for file in ("labels/a.png", "images/a.jpg"):
        (maps / file).write_bytes((maps / file).read_bytes()[:60])
        with pytest.raises(ClipReadError, match=f"{file} cannot be decoded"):
            folder_of(maps).read(0, [0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"root": "gone"}, "folder gone does not exist: set data.root"),
        ({"images": "JPEGImages"}, "JPEGImages does not exist: set data.root"),
        ({"labels": "gone"}, "gone does not exist: set data.root"),
        ({"listing": "gone.txt"}, "gone.txt: cannot be read as a list"),
        ({"listing": "empty.txt"}, "empty.txt is empty"),
        ({"listing": "long.txt"}, r"long.txt:2: expected a name, or an image and its label map"),
        ({"listing": "more.txt"}, r"images has no c \(.jpg"),
        ({"listing": "half.txt"}, r"labels has no half \(.png\), which the list names"),
        ({"labels": "images"}, "holds no label maps"),
    ],
)
def test_incomplete_sets_are_refused_at_once(maps, change, expected):
    (maps / "empty.txt").write_text("\n\n")
    (maps / "long.txt").write_text("a\na b c\n")
    (maps / "more.txt").write_text("a\nc\n")
    (maps / "half.txt").write_text("half\n")
    cv2.imwrite(str(maps / "images/half.png"), np.zeros((4, 4, 3), np.uint8))
    (maps / "images/half.png").rename(maps / "images/half.jpg")
    root = change.pop("root", maps)
    with pytest.raises(UserError, match=expected):
        folder_of(root, **change)


@pytest.mark.parametrize(
    ("names", "mirrored", "expected"),
    [
        (["a"], [], "2 to 255 different names, got 1"),
        (["a", "b", "a"], [], "got 3 with a more than once"),
        (["a", "b"], [("a", "c")], "pairs of names of classes.names, each name once, got c"),
        (["a", "b", "c"], [("a", "b"), ("b", "c")], "each name once, got b"),
    ],
)
def test_classes_that_make_no_sense_are_refused(names, mirrored, expected):
    with pytest.raises(UserError, match=expected):
        LabelClasses(names, mirrored)


def test_mirrored_labels_swap_sides_and_twice_gives_them_back():
    labels = np.random.default_rng(0).choice([0, 1, 2, VOID], (2, 7, 5)).astype(np.uint8)
    once = THREE.mirror(labels)
    np.testing.assert_array_equal(once == 1, labels[..., ::-1] == 2)
    np.testing.assert_array_equal(once == 0, labels[..., ::-1] == 0)
    np.testing.assert_array_equal(once == VOID, labels[..., ::-1] == VOID)
    np.testing.assert_array_equal(THREE.mirror(once), labels)


def classes_of(name: str) -> LabelClasses:
    config = compose(["experiment=cmp", f"+classes={name}"])
    classes: LabelClasses = build(config.classes, "classes")
    return classes


def test_published_mirrored_labels_of_cihp_are_ours(shared):
    folder = shared / "data" / "parsing" / "CIHP"
    classes = classes_of("cihp")
    plain, mirrored = (
        folder_of(folder, labels=name, listing="train_id.txt", classes=classes)
        for name in ("labels", "labels_rev")
    )
    assert len(plain) == 3
    for index in range(3):
        labels, theirs = (s.read(index, [0]).labels["semantic"] for s in (plain, mirrored))
        np.testing.assert_array_equal(classes.mirror(labels), theirs)


@pytest.mark.parametrize(
    ("folder", "images", "labels", "classes", "void", "count", "seen"),
    [
        ("voc", "JPEGImages", "SegmentationClass", "voc2012", 255, 3, {0, 5, 6, 7, 9, 15, 18, 255}),
        ("parsing/CIHP", "images", "labels", "lip", 255, 3, {*range(20)} - {3, 4, 6}),
        ("voc/camvid", "images", "labels", CAMVID, 11, 4, {*range(10), 255}),
    ],
)
def test_real_samples_are_read(shared, folder, images, labels, classes, void, count, seen):
    known = classes_of(classes) if isinstance(classes, str) else classes
    source = folder_of(
        shared / "data" / folder, images=images, labels=labels, classes=known, void=void
    )
    assert len(source) == count
    clips = [source.read(index, [0]) for index in range(count)]
    assert {int(i) for clip in clips for i in np.unique(clip.labels["semantic"])} == seen
    assert all(clip.frames.std() > 20 for clip in clips)


def test_a_list_of_classes_that_is_too_short_is_noticed(shared):
    source = folder_of(
        shared / "data/voc", images="JPEGImages", labels="SegmentationClass",
        listing="ImageSets/Segmentation/trainval.txt", classes=LabelClasses(CLASSES, []),
    )  # fmt: skip
    with pytest.raises(UserError, match="has class"):
        source.read(0, [0])


def test_toy_classes_are_those_of_its_configs():
    assert classes_of("toy_objects").names == CLASSES
    parts = classes_of("toy_parts").names
    assert parts == ("background", "torso", *(limb.replace("_", "-") for limb in LIMBS))
    clip = ToyWorld(2, size=64).read(1, [0, 5])
    expected = np.array([0, *clip.labels["object_classes"]])[clip.labels["masks"]]
    np.testing.assert_array_equal(clip.labels["semantic"], expected)
    assert clip.labels["semantic"].dtype == np.uint8
    assert expected.any()


@pytest.mark.parametrize("data", ["voc2012", "lip", "cihp"])
def test_layouts_as_downloaded(tmp_path, data):
    cfg = compose(["experiment=cmp", f"data={data}", f"data.root={tmp_path}"])
    for part in ("train", "val"):
        layout = cfg.data[part]
        for name in (f"{part}1", f"{part}2"):
            for kind, suffix in (("images", "jpg"), ("labels", "png")):
                path = tmp_path / layout[kind] / f"{name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))
        (tmp_path / layout.listing).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / layout.listing).write_text(f"{part}1\n{part}2\n")
    OmegaConf.resolve(cfg.data)
    for key, part in (("source", "train"), ("val_source", "val")):
        source = build(cfg.data.module[key], "data")
        assert [source.read(i, [0]).key for i in range(2)] == [f"{part}1", f"{part}2"]
