"""Arrows, pins and clicks: where they are put, and on which photos."""

import cv2
import numpy as np
import pytest
from davis_like import write_davis
from PIL import Image

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.arrows.photos import SequencePhotos, StillPhotos
from selfsup_motion.tasks.arrows.questions import iou, moved, question_of
from selfsup_motion.tasks.propagation.davis_files import DavisFolder


def ellipse() -> np.ndarray:
    y, x = np.mgrid[:90, :120]
    return np.hypot((x - 70) / 26, (y - 40) / 17) < 1


def test_the_points_of_the_published_protocol():
    """Numbers of the program that the published table was measured with."""
    question = question_of("dog/7", ellipse())
    assert question.point.tolist() == [[67, 40]]
    assert question.vector[0] == pytest.approx([-4.281156063079834, -1.3862547874450684], abs=0)
    assert question.pins[:5].tolist() == [[0, 33], [118, 15], [72, 89], [58, 19], [15, 88]]
    assert question.pins[-1].tolist() == [0, 87]
    assert question.positive.tolist() == [[67, 40], [86, 35], [74, 33]]
    assert question.negative.tolist() == [[39, 19], [52, 67], [95, 26]]


def test_points_are_where_the_protocol_says():
    mask = ellipse()
    side = min(mask.shape)
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) / side
    for name in map(str, range(20)):
        question = question_of(name, mask)
        assert np.hypot(*question.vector[0]) == pytest.approx(0.05 * side)
        at = [tuple(place) for place in question.pins[:, ::-1].astype(int)]
        assert all(away[place] > 0.02 for place in at)
        rim = [min(y, x, 89 - y, 119 - x) < 3 for y, x in at]
        assert all(rim[::2]), "every other pin is in the rim"
        assert not all(rim)
        assert all(mask[y, x] for x, y in question.positive.astype(int))
        assert all(0.04 < away[y, x] < 0.2 for x, y in question.negative.astype(int))
        points, vectors = question.arrow(4)
        assert np.array_equal(points[1:], question.pins[:4])
        assert not vectors[1:].any()
    assert len({question_of(name, mask).pins.tobytes() for name in "abcde"}) == 5


def test_an_object_at_the_border_and_one_that_fills_the_photo_are_asked_about_too():
    mask = np.zeros((40, 40), bool)
    mask[:, :39] = True
    question = question_of("wide", mask)
    assert (question.pins[:, 0] == 39).all()
    assert (question.negative[:, 0] == 39).all()
    corner = np.zeros((40, 40), bool)
    corner[:9, :9] = True
    assert question_of("corner", corner).point.tolist() == [[4, 4]], "the image ends there too"


def test_what_moves_farther_than_half_the_arrow_is_the_answer():
    flow = np.zeros((2, 100, 200), np.float32)  # an arrow of 5 px
    flow[0, :, :50], flow[1, :, 50:100] = 2.6, -2.6
    flow[:, :, 100:150] = 1.7
    assert (moved(flow) == (np.arange(200) < 100)).all()


def test_void_pixels_do_not_count():
    mask, region, void = (np.zeros((4, 4), bool) for _ in range(3))
    mask[:2], region[1:3], void[2] = True, True, True
    assert iou(region, mask) == pytest.approx(1 / 3)
    assert iou(region, mask, void) == pytest.approx(1 / 2)
    assert iou(np.zeros((4, 4), bool), mask) == 0


def sequences(tmp_path, **options) -> SequencePhotos:
    root = write_davis(tmp_path / "davis", count=7)
    folder = DavisFolder(str(root), split="val", year="2017", resolution="480p")
    return SequencePhotos(folder, **{"objects": "together", "min_area": 0.0, **options})


def test_three_frames_of_a_sequence_are_asked_about(tmp_path):
    source = sequences(tmp_path)
    assert source.names == ["cat", "dog"]
    photos = source.open("cat")
    assert [photo.name for photo in photos] == ["cat/0", "cat/2", "cat/4"]
    for time, photo in zip((0, 2, 4), photos, strict=True):
        assert photo.mask[5, 5 + 2 * time]
        assert photo.mask[25, 40 - 2 * time]
        assert photo.image[:, 5, 5 + 2 * time].astype(int) == pytest.approx([60, 60, 250], abs=12)
        assert not photo.void.any()


def test_each_object_may_be_asked_about_by_itself(tmp_path):
    photos = sequences(tmp_path, objects="each").open("dog")
    assert [photo.name for photo in photos] == [f"dog/{t}/{i}" for t in (0, 2, 4) for i in (1, 2)]
    assert photos[1].mask.sum() == 16 * 16
    large = sequences(tmp_path / "2", objects="each", min_area=0.1).open("dog")
    assert [photo.name for photo in large] == ["dog/0/2", "dog/2/2", "dog/4/2"]
    with pytest.raises(UserError, match=r"data.photos.min_area=1: expected a share"):
        sequences(tmp_path / "3", min_area=1.0)


def test_frames_without_an_annotation_are_not_counted(tmp_path):
    source = sequences(tmp_path)
    for time in (0, 3, 5):
        (tmp_path / f"davis/Annotations/480p/cat/{time:05d}.png").unlink()
    # of frames 1, 2, 4, 6
    cat = source.open("cat")
    assert [photo.name for photo in cat] == ["cat/0", "cat/1", "cat/2"]
    assert cat[2].mask[5, 5 + 2 * 4]


def test_a_mask_of_another_size_is_told(tmp_path):
    source = sequences(tmp_path)
    for path in (tmp_path / "davis/Annotations/480p/dog").glob("*.png"):
        Image.open(path).resize((28, 20), Image.Resampling.NEAREST).save(path)
    with pytest.raises(UserError, match=r"dog: frame 00000 is 40x56 pixels, its mask 20x28"):
        source.open("dog")


class Stills:
    """Two images with labels of one's own."""

    def __init__(self, *labels, names=("a/x.jpg", "b/x.jpg")):
        self.labels, self.names = labels, names

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return f"/data/{self.names[index]}"

    def info(self, index):
        return VideoInfo(self.names[index], 1, None, 20, 30)

    def read(self, index, frame_indices):
        frames = np.full((1, 3, 20, 30), index, np.uint8)
        return Clip(frames=frames, key=self.names[index], labels=self.labels[index])


def test_stills_have_a_question_for_each_object():
    ids = np.zeros((1, 20, 30), np.uint8)
    ids[0, :9, :9], ids[0, 12:, 12:], ids[0, 9:11], ids[0, 19, 0] = 1, 7, 255, 3
    masks = np.zeros((3, 20, 30), bool)
    masks[0, :9, :9] = masks[1, 5:, 5:] = masks[2, :7] = True
    crowd = np.array([False, False, True])
    source = StillPhotos(
        Stills({"semantic": ids}, {"object_masks": masks, "crowd": crowd}), min_area=0.01
    )
    assert source.names == ["a/x", "b/x"], "alike but for their folder"
    photos = source.open("a/x")
    assert [photo.name for photo in photos] == ["a/x/1", "a/x/7"], "a pixel is too small"
    assert photos[1].mask.sum() == 8 * 18
    assert photos[0].void[10, 3]
    photos = source.open("b/x")
    assert [photo.name for photo in photos] == ["b/x/1", "b/x/2"]
    assert photos[0].image.max() == 1
    assert photos[0].mask.sum() == 2 * 9, "what the crowd covers is void"
    assert not (photos[1].mask & photos[1].void).any()


def test_names_of_stills_do_not_depend_on_where_they_are():
    assert StillPhotos(Stills({}, {}, names=("p/1.jpg", "p/2.png")), min_area=0).names == ["1", "2"]


def test_photos_without_masks_and_objects_that_fill_them_are_told_or_left_out():
    everything = np.ones((1, 20, 30), np.uint8)
    source = StillPhotos(Stills({"semantic": everything}, {}), min_area=0.0)
    assert source.open("a/x") == []
    with pytest.raises(UserError, match=r"b/x.jpg: has no masks of objects"):
        source.open("b/x")
