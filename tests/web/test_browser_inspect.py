"""The tab Inspect, as somebody with a mouse uses it."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from selfsup_motion.apps.example import PHOTO

pytestmark = pytest.mark.browser


def frame(dx, dy):
    """The example moved right and down, as a file to be chosen."""
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    data = io.BytesIO()
    moved = np.pad(picture, ((dy, 0), (dx, 0), (0, 0)), "edge")[:427, :640]
    Image.fromarray(moved).save(data, "PNG")
    return {"name": f"moved_{dx}.png", "mimeType": "image/png", "buffer": data.getvalue()}


def until(page, script, what):
    for _ in range(600):
        if page.evaluate(script):
            return
        time.sleep(0.1)
    raise AssertionError(what)


def test_two_frames_are_compared_by_pointing_and_runs_are_listed(open_page, tmp_path):
    page = open_page("inspect")
    panel = page.locator("#panel-inspect")
    page.locator("#model").select_option("color_patches")
    first, second = panel.get_by_label("First photo"), panel.get_by_label("Second photo")
    first.get_by_role("button", name="Take the example").click()
    first.locator(".stage img").wait_for()
    second.locator("input[type=file]").set_input_files(frame(24, 12))
    second.locator(".stage img").wait_for()
    panel.get_by_text("cells of 4 pixels").wait_for()
    until(page, "() => !document.querySelector('.pair[data-computing]')", "no features")
    page.screenshot(path=tmp_path / "photos.png")

    panel.get_by_role("button", name="Colours").click()
    assert second.locator("canvas[data-name=colours]").is_visible()
    page.screenshot(path=tmp_path / "colours.png")

    box = first.locator(".stage img").bounding_box()
    scale = box["width"] / 640
    page.mouse.move(box["x"] + 322 * scale, box["y"] + 230 * scale, steps=5)
    panel.get_by_text("most alike at").wait_for()
    assert second.locator("canvas[data-name=alike]").is_visible()
    page.mouse.click(box["x"] + 322 * scale, box["y"] + 230 * scale)
    panel.get_by_text("Held").wait_for()
    page.mouse.move(5, 400)
    page.wait_for_timeout(300)
    x, y = panel.get_by_text("most alike at").inner_text().split(" at ")[1].strip(".").split(",")
    assert abs(int(x) - 346) < 8
    assert abs(int(y) - 242) < 8
    page.screenshot(path=tmp_path / "alike.png")
    panel.get_by_role("button", name="Like the held place").click()
    panel.locator(".found img").wait_for()
    first.press("Escape")

    panel.get_by_role("button", name="Flow").click()
    panel.get_by_text("the way back agrees").wait_for()
    assert first.locator("canvas[data-name=flow]").is_visible()
    page.screenshot(path=tmp_path / "flow.png")

    page.wait_for_timeout(600)
    page.reload()
    second.locator(".stage img").wait_for()
    panel.get_by_role("button", name="Runs").click()
    panel.get_by_text("There are no runs in the folder").wait_for()
