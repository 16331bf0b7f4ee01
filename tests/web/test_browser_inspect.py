"""The tab Inspect, as somebody with a mouse uses it."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from studios import mosi_run, two_runs
from tabs import Tab

from selfsup_motion.apps.example import PHOTO
from selfsup_motion.apps.film import film

pytestmark = pytest.mark.browser

COMPUTED = (
    "() => !document.querySelector('.pair[data-computing]')"
    " && document.querySelector('#panel-inspect .side').textContent.includes('cells of')"
)


@pytest.fixture(scope="module")
def served_runs(tmp_path_factory, cmp_checkpoint):
    runs = two_runs(tmp_path_factory.mktemp("runs"), cmp_checkpoint)
    (runs / "mosi").mkdir()
    mosi_run(runs / "mosi")
    return runs


@pytest.fixture(scope="module")
def served_photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my photos")
    with Image.open(PHOTO) as photo:
        photo.convert("RGB").resize((160, 107)).save(folder / "a, b=c & d.png")
    Image.new("RGB", (90, 60), "red").save(folder / "red.png")
    return folder


def frame(dx, dy):
    """The example moved right and down, as a file to be chosen."""
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    data = io.BytesIO()
    moved = np.pad(picture, ((dy, 0), (dx, 0), (0, 0)), "edge")[:427, :640]
    Image.fromarray(moved).save(data, "PNG")
    return {"name": f"moved_{dx}.png", "mimeType": "image/png", "buffer": data.getvalue()}


def test_two_frames_are_compared_by_pointing(open_page, tmp_path):
    tab = Tab(open_page("inspect"), "inspect")
    page, panel = tab.page, tab.panel
    page.locator("#model").select_option("color_patches")
    first, second = panel.get_by_label("First photo"), panel.get_by_label("Second photo")
    first.get_by_role("button", name="Take the example").click()
    first.locator(".stage img").wait_for()
    second.locator("input[type=file]").set_input_files(frame(24, 12))
    second.locator(".stage img").wait_for()
    panel.get_by_text("cells of 4 pixels").wait_for()
    tab.until(COMPUTED)
    page.screenshot(path=tmp_path / "photos.png")

    panel.get_by_role("button", name="Colours").click()
    assert second.locator("canvas[data-name=colours]").is_visible()
    page.screenshot(path=tmp_path / "colours.png")

    page.mouse.move(*tab.at(322, 230), steps=5)
    panel.get_by_text("most alike at").wait_for()
    assert second.locator("canvas[data-name=alike]").is_visible()
    tab.click(322, 230)
    first.get_by_text("Held; click").wait_for()
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

    # of the folder, the photo that is most alike becomes the second one
    among = panel.get_by_label("Among")
    among.select_option("folder")
    assert re.search(r"my photos\d* \(2\)", among.inner_text())
    panel.get_by_role("button", name="Like the first photo").click()
    alike = panel.locator(".found button")
    tab.until(
        "() => { const shown = [...document.querySelectorAll('.found img')];"
        " return shown.length === 2 && shown.every((image) => image.naturalWidth > 0); }"
    )
    assert alike.first.get_attribute("title") == "a, b=c & d.png"
    page.screenshot(path=tmp_path / "folder.png")
    alike.first.click()
    second.locator(".stage img[src]").wait_for()
    tab.until(
        "() => document.querySelectorAll('#panel-inspect .stage img')[1].naturalWidth === 160"
    )
    tab.until(COMPUTED)

    tab.kept()
    page.reload()
    second.locator(".stage img").wait_for()
    tab.until(COMPUTED)


def test_motion_is_found_in_a_video_and_runs_are_seen_side_by_side(open_page, tmp_path):
    with film(tmp_path / "a.mp4", 10) as made:
        noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
        for number in range(20):
            made.add(np.roll(noise, 3 * number, 1))
    tab = Tab(open_page("inspect"), "inspect")
    page, panel = tab.page, tab.panel
    clips = page.locator("#model option[value='run:mosi']")
    assert clips.is_disabled()
    assert "sees clips" in clips.inner_text()

    panel.get_by_role("button", name="Video", exact=True).click()
    assert page.locator("#model option[value=cmp]").is_disabled()
    page.locator("#model").select_option("run:mosi")
    panel.locator("input[type=file][accept^=video]").set_input_files(tmp_path / "a.mp4")
    panel.get_by_label("The video with what was found").wait_for()
    assert panel.locator(".side:visible tbody tr").count() == 3
    page.screenshot(path=tmp_path / "video.png")

    panel.get_by_role("button", name="Runs").click()
    for name in ("cmp/first", "cmp/second"):
        panel.get_by_role("checkbox", name=name).check()
    seed = panel.get_by_role("row", name="seed")
    seed.wait_for()
    assert seed.locator("td").all_inner_texts() == ["1", "2"]
    tab.until(
        "() => [...document.querySelectorAll('#panel-inspect figure img')]"
        ".filter((image) => image.naturalWidth === 8).length === 2"
    )
    page.screenshot(path=tmp_path / "runs.png")

    # the address of `show=cmp/second`
    page.goto(f"{page.url.partition('/#')[0]}/?run=cmp%2Fsecond#inspect")
    boxes = panel.get_by_role("checkbox", checked=True)
    boxes.first.wait_for()
    assert [box.get_attribute("aria-label") for box in boxes.all()] == ["cmp/second"]
