import numpy as np

from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.flow_pictures import below, flow_legend, flow_picture


def test_still_and_unknown_look_different():
    known = np.zeros((20, 30), bool)
    known[:, :15] = True
    picture = flow_picture(np.zeros((2, 20, 30), np.float32), known, magnify=2)
    assert picture.shape == (40, 60, 3)
    assert (picture[:, :30] == 255).all()
    unknown = picture[:, 30:]
    assert unknown.max() < 255
    assert (unknown == unknown[..., :1]).all()  # grey, which no motion is
    assert len(np.unique(unknown)) == 2  # hatched
    assert (flow_picture(np.zeros((2, 20, 30), np.float32)) == 255).all()


def test_the_known_part_has_the_usual_colours():
    flow = np.random.default_rng(0).normal(0, 5, (2, 12, 10)).astype(np.float32)
    known = np.ones((12, 10), bool)
    expected = flow_to_color(flow, 9.0).transpose(1, 2, 0)
    assert np.array_equal(flow_picture(flow, known, scale=9.0), expected)


def test_the_wheel_shows_the_colour_of_each_direction():
    legend = flow_legend(["full colour: 4 px"])
    right, down = (
        flow_to_color(np.array(v, np.float32).reshape(2, 1, 1), 1.0)[:, 0, 0]
        for v in ((0.95, 0.0), (0.0, 0.95))
    )
    middle = 4 + 32
    assert np.abs(legend[middle, 4 + 62].astype(int) - right).max() < 20
    assert np.abs(legend[4 + 62, middle].astype(int) - down).max() < 20
    assert legend[middle, middle].min() > 235  # still
    assert flow_legend([], unknown=True).shape[0] >= legend.shape[0]


def test_a_legend_is_put_below_without_scaling():
    picture = np.zeros((5, 7, 3), np.uint8)
    legend = flow_legend([])
    whole = below(picture, legend)
    assert whole.shape == (5 + legend.shape[0], legend.shape[1], 3)
    assert (whole[:5, :7] == 0).all()
    assert (whole[:5, 7:] == 255).all()
