"""The tab Follow, as somebody with a mouse uses it: paint, follow, correct, follow again, save."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

SIZE = (256, 192)


def at(page, x, y):
    """Where a place of a frame is on the screen."""
    box = page.locator("#panel-follow .stage > canvas").first.bounding_box()
    scale = box["width"] / SIZE[0]
    return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale


def stroke(page, *places):
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(page, *place), steps=4)
    page.mouse.up()


def follow(page, name):
    page.locator("#panel-follow").get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector("#panel-follow [data-following]")
    page.wait_for_selector("#panel-follow .surface:not([data-following])")


def masks(page):
    """What is saved, (T, H, W)."""
    with page.expect_download() as saved:
        page.locator("[data-save=masks]").click()
    with zipfile.ZipFile(saved.value.path()) as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".png"))
        return np.stack([np.asarray(Image.open(io.BytesIO(packed.read(n)))) for n in names])


def go(page, number):
    page.locator("#panel-follow [aria-label=Frame]").fill(str(number))
    page.wait_for_selector(f"#panel-follow .surface[data-frame='{number}']")


def test_object_is_painted_followed_corrected_in_frame_20_and_saved(open_page):
    page = open_page("follow")
    page.locator("#panel-follow").get_by_role("button", name="Take the example").click()
    page.wait_for_selector("#panel-follow .surface[data-frame='0']")
    stroke(page, (161, 60), (168, 80), (163, 98))
    follow(page, "Follow")
    before = masks(page)
    assert before.shape == (60, SIZE[1], SIZE[0])
    assert before[0, 60, 161] == 1
    assert 100 < (before[59] == 1).sum() < 4000
    go(page, 20)
    stroke(page, (20, 20), (60, 20))
    assert "corrected" in page.locator("#panel-follow .side").inner_text()
    follow(page, "Follow again from what has changed")
    after = masks(page)
    np.testing.assert_array_equal(after[:20], before[:20])
    assert after[20, 20, 40] == 1
    assert (after[25] != before[25]).any()
    page.reload()
    page.wait_for_selector("#panel-follow .surface[data-frame]")
    told = json.loads(page.evaluate("async () => (await (await fetch('/api/session')).text())"))
    assert [key["frame"] for key in told["states"]["follow"]["keys"]] == [0, 20]
    assert "up to frame 59" in page.locator("#panel-follow .side").inner_text()
