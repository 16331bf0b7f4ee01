"""Masks as people have them: what is read, what is refused, and what is said about it."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup_motion.data.reading.mask_reading import describe_objects, mask_warning
from selfsup_motion.data.reading.masks import MaskReader, read_ids, read_mask, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.ops.palette import palette

SIZE = (48, 64)
ONE = np.zeros(SIZE, np.uint8)
ONE[12:28, 10:30] = 1
TWO = ONE.copy()
TWO[34:44, 36:60] = 2


def saved(tmp_path, array, name="m.png", colours=None, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    if colours is not None:
        image = image.convert("P") if image.mode == "1" else image
        image.putpalette([level for colour in colours for level in colour])
    image.save(tmp_path / name, **options)
    return tmp_path / name


def painted(ids, *colours):
    """(H, W, 3): the colour of each id."""
    return np.array(colours, np.uint8)[ids]


def blurred(mask):
    return cv2.GaussianBlur(mask, (5, 5), 1.2)


def agreement(path, truth):
    found = read_mask(path)
    return (found == truth).sum() / truth.size


def test_written_mask_is_indexed_with_the_palette_of_davis(tmp_path):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "m.png", ids)
    image = Image.open(tmp_path / "m.png")
    assert image.mode == "P"
    assert image.getpalette()[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    np.testing.assert_array_equal(np.array(image), ids)
    np.testing.assert_array_equal(read_ids(tmp_path / "m.png"), ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), ids)


def test_palette_is_that_of_davis(shared):
    path = shared / "data/davis/Annotations/480p/dog/00000.png"
    theirs = np.array(Image.open(path).getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette()[: len(theirs)], theirs)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (ONE * 255, ONE),
        (ONE > 0, ONE),
        (TWO, TWO),
        (ONE * 200, ONE * 200),
        (TWO.astype(np.uint16), TWO),
        (ONE.astype(np.uint16) * 65535, ONE),
        (TWO.astype(np.uint16) * 1000 + (TWO > 0), TWO),
        (np.array([0, 127, 255], np.uint8)[TWO], TWO),
        (np.array([0, 1, 255], np.uint8)[TWO], np.array([0, 1, 255], np.uint8)[TWO]),
        (ONE.astype(np.float32), ONE),
        (painted(ONE, (0, 0, 0), (255, 255, 255)), ONE),
        (painted(TWO, (0, 0, 0), (0, 0, 255), (255, 0, 0)), TWO),
        (painted(TWO, (255, 255, 255), (0, 0, 255), (255, 0, 0)), TWO),
        (painted(TWO, *palette()[:3]), TWO),
        (painted(TWO, *palette()[[0, 7, 3]]), np.array([0, 7, 3], np.uint8)[TWO]),
        (painted(TWO, (0, 0, 0, 0), (0, 0, 255, 255), (255, 0, 0, 255)), TWO),
        (painted(TWO, (0, 0, 0, 255), (0, 0, 255, 255), (255, 0, 0, 255)), TWO),
        (painted(ONE, (255, 255, 255, 0), (255, 255, 255, 255)), ONE),
        (painted(ONE, (0, 0, 0, 0), (0, 0, 0, 255)), ONE),
        (painted(ONE, (0, 255), (255, 255)), ONE),
    ],
)
def test_values_become_ids(tmp_path, array, expected):
    name = "m.tif" if array.dtype == np.float32 else "m.png"
    np.testing.assert_array_equal(read_mask(saved(tmp_path, array, name)), expected)


def test_alpha_of_a_cut_out_photo_is_the_mask(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    path = saved(tmp_path, np.dstack([photo, ONE * 255]))
    reader = MaskReader([path])
    np.testing.assert_array_equal(reader.read(path), ONE)
    assert reader.notes == ["its alpha channel is used as the mask"]


def test_arrays_of_numpy_are_masks(tmp_path):
    np.save(tmp_path / "m.npy", TWO.astype(np.int64))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.npy"), TWO)
    np.save(tmp_path / "m.npy", TWO * 0.5)
    with pytest.raises(UserError, match="has fractions"):
        read_mask(tmp_path / "m.npy")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (ONE * 255, "m.jpg"),
        (blurred(ONE * 255), "m.png"),
        (cv2.resize(ONE[::2, ::2] * 255, SIZE[::-1]), "m.png"),
        (painted(ONE, (0, 0, 0), (255, 255, 255)), "m.jpg"),
        (painted(ONE, (0, 0, 0), (200, 0, 0)), "m.jpg"),
        (blurred(painted(ONE, (0, 0, 0), (200, 0, 0))), "m.png"),
        (blurred(painted(ONE, (255, 255, 255), (200, 0, 0))), "m.png"),
        (Image.fromarray(blurred(ONE * 255)).convert("P"), "m.png"),
        (Image.fromarray(blurred(painted(ONE, (0, 0, 0), (0, 200, 0)))).quantize(16), "m.png"),
    ],
)  # fmt: skip
def test_soft_mask_of_one_object_is_cut_half_way_and_says_so(tmp_path, caplog, image, name):
    path = saved(tmp_path, image, name)
    assert agreement(path, ONE) > 0.97
    assert set(np.unique(read_mask(path))) == {0, 1}
    assert "a lossy or soft mask" in caplog.text


def test_lossy_mask_that_was_saved_again_is_still_lossy(tmp_path):
    lossy = saved(tmp_path, ONE * 255, "m.jpg", quality=40)
    path = saved(tmp_path, Image.open(lossy), "again.png")
    assert len(np.unique(np.array(Image.open(path)))) > 3
    assert agreement(path, ONE) > 0.97


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (np.array([0, 100, 200], np.uint8)[TWO], "m.jpg", "got a JPEG, which does not"),
        (ONE, "m.jpg", "got a JPEG"),
        (painted(TWO, (0, 0, 0), (0, 0, 255), (255, 0, 0)), "m.jpg", "got a JPEG"),
        (blurred(np.array([0, 100, 200], np.uint8)[TWO]), "m.png", "different grey values"),
        (blurred(painted(TWO, (0, 0, 0), (0, 0, 255), (255, 0, 0))), "m.png", "different colours"),
        (np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8), "m.png", "photos"),
        (np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)), "m.png", "score maps"),
        (painted(np.arange(64) // 22 + ONE * 0, (9, 9, 200), (255, 0, 0), (0, 255, 0)), "m.png",
         "what is the background"),
    ],
)  # fmt: skip
def test_mask_without_clear_objects_is_refused(tmp_path, image, name, expected):
    path = saved(tmp_path, image, name)
    with pytest.raises(UserError, match=expected) as error:
        read_mask(path)
    assert str(error.value).startswith(f"{path}: ")


def test_many_small_objects_are_not_soft_edges(tmp_path):
    ids = np.zeros((60, 60), np.uint8)
    for index in range(36):
        top, left = divmod(index, 6)
        side = 1 + index % 6  # a third of them have no pixel that is all inside
        ids[10 * top + 1 :, 10 * left + 1 :][:side, :side] = index + 1
    np.testing.assert_array_equal(read_mask(saved(tmp_path, ids)), ids)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, ids, colours=palette())), ids)


@pytest.mark.parametrize(
    ("ids", "colours", "told"),
    [
        (1 - ONE, [(255, 0, 0), (0, 0, 0)], "index 0 of its palette is (255, 0, 0), black is"),
        (np.array([2, 0, 1], np.uint8)[TWO], [(9, 200, 0), (90, 0, 250), (0, 0, 0)], "black is"),
        (np.array([0, 2, 1], np.uint8)[TWO], palette()[[0, 2, 1]], "in another order"),
    ],
)
def test_palette_whose_index_0_is_not_the_background_goes_by_its_colours(
    tmp_path, caplog, ids, colours, told
):
    found = read_mask(saved(tmp_path, ids, colours=colours))
    np.testing.assert_array_equal(found, TWO if len(colours) == 3 else ONE)
    assert told in caplog.text


def test_transparent_index_is_the_background(tmp_path, caplog):
    image = Image.fromarray(1 - ONE)
    path = saved(tmp_path, image, colours=[(255, 0, 0), (250, 250, 250)], transparency=1)
    np.testing.assert_array_equal(read_mask(path), ONE)
    assert "index 1 of its palette is transparent" in caplog.text


def test_palette_that_begins_with_a_white_background_goes_by_its_indices(tmp_path, caplog):
    path = saved(tmp_path, ONE, colours=[(255, 255, 255), (0, 0, 0)])
    np.testing.assert_array_equal(read_mask(path), ONE)
    assert not caplog.text


def test_doubtful_masks_are_noticed():
    assert mask_warning(ONE) is None
    assert "object 1 covers 90% of the picture and most of its border" in str(mask_warning(1 - ONE))
    assert "no pixel is background" in str(mask_warning(np.full(SIZE, 3, np.uint8)))


def test_objects_are_counted_and_named():
    assert describe_objects(ONE) == "1 object (1)"
    void = np.where(ONE == 1, 255, np.uint8(4))
    assert describe_objects(void, {4: "cat"}) == "1 object (4 cat)"


class TestSequence:
    """What values mean is decided once for all frames."""

    def frames(self, tmp_path, *arrays, colours=None):
        each = colours or [None] * len(arrays)
        return [
            saved(tmp_path, array, f"{time:05d}.png", colours=palette)
            for time, (array, palette) in enumerate(zip(arrays, each, strict=True))
        ]

    def read(self, paths):
        reader = MaskReader(paths)
        return [reader.read(path) for path in paths]

    def test_255_is_void_in_all_frames_if_one_has_other_ids(self, tmp_path, caplog):
        first, second = self.read(self.frames(tmp_path, ONE, ONE * 255))
        np.testing.assert_array_equal(first, ONE)
        np.testing.assert_array_equal(second, ONE * 255)
        assert "255 is used as void" in caplog.text

    def test_255_is_the_object_if_no_frame_has_another_id(self, tmp_path):
        for mask in self.read(self.frames(tmp_path, ONE * 255, ONE * 0, ONE * 255))[::2]:
            np.testing.assert_array_equal(mask, ONE)

    def test_colours_and_large_ids_have_one_number_in_all_frames(self, tmp_path):
        both = painted(TWO, (0, 0, 0), (255, 0, 0), (0, 0, 255))
        later = painted(TWO, (0, 0, 0), (0, 0, 0), (0, 0, 255))
        first, second = self.read(self.frames(tmp_path, both, later))
        assert set(np.unique(second)) == {0, first[40, 40]}
        first, second = self.read(self.frames(tmp_path, TWO.astype(np.uint16) * 500,
                                              (TWO == 2).astype(np.uint16) * 1000))  # fmt: skip
        assert set(np.unique(second)) == {0, first[40, 40]} == {0, 2}

    def test_palettes_of_which_each_has_its_own_order_go_by_colours(self, tmp_path, caplog):
        black, red, blue = (0, 0, 0), (255, 0, 0), (0, 0, 255)
        swapped = np.array([0, 2, 1], np.uint8)[TWO]
        paths = self.frames(
            tmp_path, TWO, swapped, colours=[[black, red, blue], [black, blue, red]]
        )
        first, second = self.read(paths)
        np.testing.assert_array_equal(first, second)
        assert "the palettes of its files differ" in caplog.text

    def test_soft_masks_are_told_once(self, tmp_path, caplog):
        soft = blurred(ONE * 255)
        masks = self.read(self.frames(tmp_path, soft, ONE * 0, np.roll(soft, 3, 1)))
        assert [int(mask.max()) for mask in masks] == [1, 0, 1]
        assert caplog.text.count("a lossy or soft mask") == 1

    def test_kinds_that_have_nothing_in_common_are_refused(self, tmp_path):
        paths = self.frames(tmp_path, ONE, painted(ONE, (0, 0, 0), (255, 0, 0)))
        with pytest.raises(UserError, match="its masks are of different kinds"):
            MaskReader(paths)
        with pytest.raises(UserError, match=r"holds images \(00000.png\) and polygons \(m.json\)"):
            MaskReader([paths[0], labelme(tmp_path, polygon("a", *SQUARE))])
        paths = self.frames(tmp_path, TWO * 100, blurred(ONE * 255))
        with pytest.raises(UserError, match="expected a value for each object"):
            MaskReader(paths)


def polygon(label, *corners, **other):
    return {"label": label, "points": corners, "shape_type": "polygon", **other}


SQUARE = [[10, 12], [29, 12], [29, 27], [10, 27]]


def write_json(tmp_path, content):
    (tmp_path / "m.json").write_text(json.dumps(content))
    return tmp_path / "m.json"


def labelme(tmp_path, *shapes, size=SIZE):
    return write_json(
        tmp_path, {"shapes": shapes, "imageHeight": size[0], "imageWidth": size[1]}
    )  # fmt: skip


def test_each_shape_of_labelme_is_an_object(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(buffer, "PNG")
    mask = base64.b64encode(buffer.getvalue()).decode()
    path = labelme(
        tmp_path,
        polygon("cat", *SQUARE),
        {"label": "box", "points": [[36, 34], [59, 43]], "shape_type": "rectangle"},
        {"label": "ball", "points": [[50, 10], [50, 14]], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 40], [4, 42]], "shape_type": "mask", "mask": mask},
    )
    reader = MaskReader([path])
    found = reader.read(path)
    np.testing.assert_array_equal(np.where(found < 3, found, 0), TWO)
    assert describe_objects(found, reader.object_names) == (
        "4 objects (1 cat, 2 box, 3 ball, 4 cat)"
    )
    assert (found == 3).sum() == 49, "all pixels within 4 of the centre"
    assert (found[40:43, 1:5] == 4).all()


def test_shapes_of_one_group_are_one_object(tmp_path):
    other = [[40, 5], [50, 5], [50, 9]]
    path = labelme(tmp_path, polygon("a", *SQUARE, group_id=1), polygon("a", *other, group_id=1))
    assert set(np.unique(read_mask(path))) == {0, 1}


def test_annotations_of_coco_are_objects(tmp_path):
    image = {"id": 7, "file_name": "x/00003.jpg", "height": SIZE[0], "width": SIZE[1]}
    ring = [10, 12, 30, 12, 30, 28, 10, 28]
    runs = {"size": list(SIZE), "counts": [48 * 50, 48 * 4, 48 * 10]}
    content = {
        "images": [image, {**image, "id": 8, "file_name": "00004.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [ring]},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": runs},
            {"id": 3, "image_id": 8, "category_id": 3, "segmentation": [ring]},
        ],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path = write_json(tmp_path, content)
    reader = MaskReader([path], "00003")
    found = reader.read(path)
    np.testing.assert_array_equal(found == 1, ONE == 1)
    assert (found[:, 50:54] == 2).all()
    assert describe_objects(found, reader.object_names) == "2 objects (1 cat, 2 cat)"
    with pytest.raises(UserError, match="has 2 images, and none of them is called other"):
        read_mask(path, "other")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([[1, 2]], "expected the polygons of LabelMe"),
        ({"nose": [3, 4]}, "use points= for a list of points"),
        ({"shapes": [], "imageHeight": None, "imageWidth": 4}, "does not say how large"),
        ({"shapes": [polygon("a", [1, 2], [3, 4])], "imageHeight": 9, "imageWidth": 9},
         "is a polygon of 2 points, which has no area"),
        ({"shapes": [polygon("a", ["x", 2])], "imageHeight": 9, "imageWidth": 9}, "has no points"),
        ({"images": [{"id": 1, "height": 9, "width": 9}],
          "annotations": [{"image_id": 1, "segmentation": [[1, 2, 3, 4]]}]},
         "has a broken polygon"),
        ({"images": [{"id": 1, "height": 9, "width": 9}], "annotations":
          [{"image_id": 1, "segmentation": {"size": [9, 9], "counts": [3, 4]}}]}, "do not fit"),
    ],
)  # fmt: skip
def test_json_that_is_no_mask_is_refused(tmp_path, content, expected):
    with pytest.raises(UserError, match=expected) as error:
        read_mask(write_json(tmp_path, content))
    assert str(tmp_path / "m.json") in str(error.value)


def test_missing_and_damaged_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    frames = [Image.fromarray(ONE * 100), Image.fromarray(ONE * 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    for name in ("text.png", "absent.png", "film.gif"):
        with pytest.raises(UserError, match=name):
            read_mask(tmp_path / name)
