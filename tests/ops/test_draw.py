import numpy as np
import pytest

from selfsup_motion.ops.draw import draw_arrows, panel


def test_arrows_are_drawn_where_the_points_are_and_the_image_is_kept():
    image = np.full((40, 60, 3), 100, np.uint8)
    points = np.array([[10.0, 20.0]], np.float32)
    drawn = draw_arrows(image, points, np.array([[15.0, 0.0]], np.float32), magnify=2)
    assert drawn.shape == (80, 120, 3)
    changed = np.argwhere((drawn != 100).any(-1))
    assert abs(changed[:, 0].mean() - 41) < 4
    assert changed[:, 1].min() >= 15
    assert changed[:, 1].max() <= 58
    assert (image == 100).all()


def test_panel_puts_every_tile_in_its_place():
    tiles = [[np.full((8, 9, 3), 10 * r + c, np.uint8) for c in range(3)] for r in range(2)]
    canvas = panel(tiles, ["a", "b", "c"])
    for r in range(2):
        for c in range(3):
            count = (canvas == 10 * r + c).all(-1).sum()
            assert count >= 72


def test_captions_stand_below_the_pictures_and_end_within_their_width():
    tiles = [[np.zeros((20, 90, 3), np.uint8)] * 2] * 2
    plain, told = panel(tiles, ["a", "b"]), panel(tiles, ["a", "b"], [["", "x" * 80]] * 2)
    assert told.shape[0] > plain.shape[0]
    assert told.shape[1] == plain.shape[1]
    first = 22 + 20  # below title and picture
    assert (told[first : first + 16, :92] == 255).all()
    assert (told[first : first + 16, 96:] < 128).any()
    panel(tiles, ["a", "b"], [["Vidéo – 1", "…"]] * 2)  # letters that the font lacks


def test_panel_refuses_tiles_of_unequal_size():
    with pytest.raises(ValueError, match="8x9"):
        panel([[np.zeros((8, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)]], ["a", "b"])
