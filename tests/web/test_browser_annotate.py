"""The tab Annotate, as somebody with a mouse and a keyboard uses it."""

import json
import time

import pytest

pytestmark = pytest.mark.browser

EXAMPLE = (640, 427)
TAB = "#panel-annotate"


@pytest.fixture
def page(open_page):
    """The tab with the example photo."""
    page = open_page("annotate")
    page.locator(TAB).get_by_role("button", name="Take the example").click()
    page.locator(f"{TAB} .stage img").wait_for()
    return page


def at(page, x, y):
    """Where a place of the photo is on the screen."""
    box = page.locator(f"{TAB} .stage img").bounding_box()
    scale = box["width"] / EXAMPLE[0]
    return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale


def click(page, x, y, **options):
    page.mouse.click(*at(page, x, y), **options)


def drag(page, *places):
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(page, *place), steps=4)
    page.mouse.up()


def button(page, name):
    return page.locator(TAB).get_by_role("button", name=name, exact=True)


def settle(page):
    """Until nothing is computed any more."""
    for _ in range(600):
        page.wait_for_timeout(100)
        if not page.locator(f"{TAB} [data-computing]").count():
            return
        time.sleep(0.05)
    raise AssertionError("still at work")


def state(page):
    """What the session keeps of the tab, once it is written."""
    page.wait_for_timeout(600)
    return page.evaluate("async () => (await (await fetch('/api/session')).json()).states.annotate")


def colour(page, x, y):
    """RGBA of the layer of masks at a place of the photo."""
    return page.evaluate(
        f"""() => {{
          const layer = document.querySelector("{TAB} canvas[data-name=mask]");
          const copy = new OffscreenCanvas(1, 1).getContext("2d");
          copy.drawImage(layer, -Math.floor(({x} + 0.5) * layer.width / {EXAMPLE[0]}),
            -Math.floor(({y} + 0.5) * layer.height / {EXAMPLE[1]}));
          return [...copy.getImageData(0, 0, 1, 1).data];
        }}"""
    )


def test_objects_are_clicked_corrected_named_and_saved(page, tmp_path):
    for y in (230, 140, 340):
        click(page, 322, y)
    settle(page)
    red = colour(page, 322, 230)
    assert red[3] > 0
    assert colour(page, 60, 60)[3] == 0
    clicked = state(page)["doc"]

    button(page, "Cut").click()
    drag(page, (322, 225), (322, 235))
    settle(page)
    assert colour(page, 322, 230)[3] == 0
    page.keyboard.press("Control+z")
    settle(page)
    assert state(page)["doc"] == clicked
    assert colour(page, 322, 230) == red
    page.keyboard.press("Control+Shift+z")
    settle(page)
    assert colour(page, 322, 230)[3] == 0

    button(page, "Add an object").click()
    button(page, "Brush").click()
    drag(page, (80, 80), (120, 80))
    page.locator(TAB).get_by_label("Name of object 2").fill("moon")
    page.keyboard.press("Enter")
    settle(page)
    blue = colour(page, 100, 80)
    assert blue[3] > 0
    assert blue[:3] != red[:3]
    button(page, "Colour of object 2").click()
    button(page, "Colour 4").click()
    settle(page)
    assert colour(page, 100, 80)[:3] not in (blue[:3], red[:3])
    # corrections stand when clicks change
    page.locator(f"{TAB} [data-label='1']").click()
    page.locator(f"{TAB} [data-tool=point]").click()
    click(page, 400, 300, button="right")
    settle(page)
    assert colour(page, 322, 230)[3] == 0
    shapes = state(page)["doc"]["shapes"]
    assert [(one["sign"], one["label"]) for one in shapes] == [(1, 1)] * 3 + [(-1, 1)]
    page.screenshot(path=tmp_path / "masks.png")
    button(page, "Score").click()
    settle(page)
    page.screenshot(path=tmp_path / "score.png")

    drawn = state(page)
    page.reload()
    page.locator(f"{TAB} .stage img").wait_for()
    settle(page)
    assert state(page) == drawn
    for name, file in (("PNG", "rocket_mask.png"), ("LabelMe", "rocket.json")):
        with page.expect_download() as saved:
            button(page, name).click()
        assert saved.value.suggested_filename == file
    content = json.loads(saved.value.path().read_text())
    assert {one["label"] for one in content["shapes"]} == {"object 1", "moon"}
    received = []
    page.on("download", lambda download: received.append(download.suggested_filename))
    button(page, "Clicks").click()
    command = page.locator(f"{TAB} code").inner_text()
    assert "corrections=rocket_corrections.png" in command
    page.wait_for_timeout(500)
    assert sorted(received) == ["rocket_clicks.json", "rocket_corrections.png"]

    button(page, "Remove object 1").click()
    settle(page)
    doc = state(page)["doc"]
    assert [one["name"] for one in doc["objects"]] == ["moon"]
    assert doc["shapes"] == []
    assert set(doc["labels"]["runs"][::2]) <= {0, 2, 255}


def test_contradiction_is_told_and_taken_back(page):
    click(page, 322, 230)
    settle(page)
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    for _ in range(12):  # close up, so that the first point is not grabbed
        page.mouse.move(*at(page, 322, 230))
        page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    click(page, 322.3, 230.3)
    page.get_by_text("on the same pixel").wait_for()
    page.keyboard.press("Control+z")
    settle(page)
    page.keyboard.press("0")
    page.keyboard.press("x")
    click(page, 100, 100)
    assert [(one["sign"], one["label"]) for one in state(page)["doc"]["shapes"]] == [
        (1, 1),
        (-1, 2),
    ]


def test_paint_is_taken_away_again(page):
    button(page, "Brush").click()
    drag(page, (100, 100), (200, 100))
    settle(page)
    assert colour(page, 150, 100)[3] > 0
    button(page, "Unpaint").click()
    drag(page, (150, 100), (210, 100))
    settle(page)
    assert colour(page, 150, 100)[3] == 0
    assert colour(page, 110, 100)[3] > 0


def test_work_is_seen_while_the_studio_computes(page):
    settle(page)
    held = []
    page.route("**/api/annotate/masks", lambda route: held.append(route))
    click(page, 322, 230)
    bar = page.locator(f"{TAB} aside progress")
    bar.wait_for(state="visible")
    assert bar.get_attribute("value") is None  # nobody knows yet for how long
    page.wait_for_function(
        f"() => getComputedStyle(document.querySelector('{TAB} .surface'), '::before').opacity > 0"
    )
    held.pop().continue_()
    settle(page)
    assert not bar.is_visible()
    assert colour(page, 322, 230)[3] > 0
