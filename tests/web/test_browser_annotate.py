"""The tab Annotate, as somebody with a mouse and a keyboard uses it."""

import json

import pytest
from tabs import Tab

pytestmark = pytest.mark.browser

EXAMPLE = (640, 427)


@pytest.fixture
def tab(open_page):
    """The tab with the example photo."""
    tab = Tab(open_page("annotate"), "annotate")
    tab.take_example()
    return tab


def colour(tab, x, y):
    """RGBA of the layer of masks at a place of the photo."""
    return tab.page.evaluate(
        f"""() => {{
          const layer = document.querySelector("#panel-annotate canvas[data-name=mask]");
          const copy = new OffscreenCanvas(1, 1).getContext("2d");
          copy.drawImage(layer, -Math.floor(({x} + 0.5) * layer.width / {EXAMPLE[0]}),
            -Math.floor(({y} + 0.5) * layer.height / {EXAMPLE[1]}));
          return [...copy.getImageData(0, 0, 1, 1).data];
        }}"""
    )


def test_objects_are_clicked_corrected_named_and_saved(tab, tmp_path):
    for y in (230, 140, 340):
        tab.click(322, y)
    tab.settled()
    red = colour(tab, 322, 230)
    assert red[3] > 0
    assert colour(tab, 60, 60)[3] == 0
    clicked = tab.kept()["doc"]

    tab.button("Cut").click()
    tab.drag((322, 225), (322, 235))
    tab.settled()
    assert colour(tab, 322, 230)[3] == 0
    tab.page.keyboard.press("Control+z")
    tab.settled()
    assert tab.kept()["doc"] == clicked
    assert colour(tab, 322, 230) == red
    tab.page.keyboard.press("Control+Shift+z")
    tab.settled()
    assert colour(tab, 322, 230)[3] == 0

    tab.button("Add an object").click()
    tab.button("Brush").click()
    tab.drag((80, 80), (120, 80))
    tab.panel.get_by_label("Name of object 2").fill("moon")
    tab.page.keyboard.press("Enter")
    tab.settled()
    blue = colour(tab, 100, 80)
    assert blue[3] > 0
    assert blue[:3] != red[:3]
    tab.button("Colour of object 2").click()
    tab.button("Colour 4").click()
    tab.settled()
    assert colour(tab, 100, 80)[:3] not in (blue[:3], red[:3])
    # corrections stand when clicks change
    tab.panel.locator("[data-label='1']").click()
    tab.panel.locator("[data-tool=point]").click()
    tab.click(400, 300, button="right")
    tab.settled()
    assert colour(tab, 322, 230)[3] == 0
    shapes = tab.kept()["doc"]["shapes"]
    assert [(one["sign"], one["label"]) for one in shapes] == [(1, 1)] * 3 + [(-1, 1)]
    tab.page.screenshot(path=tmp_path / "masks.png")
    tab.button("Score").click()
    tab.settled()
    tab.page.screenshot(path=tmp_path / "score.png")

    drawn = tab.kept()
    tab.page.reload()
    tab.picture.wait_for()
    tab.settled()
    assert tab.kept() == drawn
    for name, file in (("PNG", "rocket_mask.png"), ("LabelMe", "rocket.json")):
        with tab.page.expect_download() as saved:
            tab.button(name).click()
        assert saved.value.suggested_filename == file
    content = json.loads(saved.value.path().read_text())
    assert {one["label"] for one in content["shapes"]} == {"object 1", "moon"}
    received = []
    tab.page.on("download", lambda download: received.append(download.suggested_filename))
    with tab.page.expect_event("download", lambda _: len(received) == 2):
        tab.button("Clicks").click()
    command = tab.panel.locator("code").inner_text()
    assert "corrections=rocket_corrections.png" in command
    assert sorted(received) == ["rocket_clicks.json", "rocket_corrections.png"]

    tab.button("Remove object 1").click()
    tab.settled()
    doc = tab.kept()["doc"]
    assert [one["name"] for one in doc["objects"]] == ["moon"]
    assert doc["shapes"] == []
    assert set(doc["labels"]["runs"][::2]) <= {0, 2, 255}


def test_contradiction_is_told_and_taken_back(tab):
    tab.click(322, 230)
    tab.settled()
    tab.page.keyboard.press("n")
    tab.page.keyboard.press("Escape")
    for _ in range(4):  # close up, so that the first point is not grabbed
        tab.wheel(322, 230, -600)
    tab.click(322.3, 230.3)
    tab.page.get_by_text("on the same pixel").wait_for()
    tab.page.keyboard.press("Control+z")
    tab.settled()
    tab.page.keyboard.press("0")
    tab.page.keyboard.press("x")
    tab.click(100, 100)
    assert [(one["sign"], one["label"]) for one in tab.kept()["doc"]["shapes"]] == [
        (1, 1),
        (-1, 2),
    ]


def test_paint_is_taken_away_again(tab):
    tab.button("Brush").click()
    tab.drag((100, 100), (200, 100))
    tab.settled()
    assert colour(tab, 150, 100)[3] > 0
    tab.button("Unpaint").click()
    tab.drag((150, 100), (210, 100))
    tab.settled()
    assert colour(tab, 150, 100)[3] == 0
    assert colour(tab, 110, 100)[3] > 0


def test_work_is_seen_while_the_studio_computes(tab):
    tab.settled()
    held = []
    tab.page.route("**/api/annotate/masks", lambda route: held.append(route))
    tab.click(322, 230)
    bar = tab.panel.locator("aside progress")
    bar.wait_for(state="visible")
    assert bar.get_attribute("value") is None  # nobody knows yet for how long
    tab.until(
        "() => getComputedStyle("
        "document.querySelector('#panel-annotate .surface'), '::before').opacity > 0"
    )
    held.pop().continue_()
    tab.settled()
    assert not bar.is_visible()
    assert colour(tab, 322, 230)[3] > 0
