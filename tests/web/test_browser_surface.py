"""The drawing surface and the tab Move, as somebody with a mouse and a keyboard uses them."""

import json
import time

import pytest

pytestmark = pytest.mark.browser

EXAMPLE = (640, 427)


@pytest.fixture
def page(open_page):
    """The tab Move with the example photo."""
    page = open_page("move")
    page.get_by_role("button", name="Take the example").click()
    page.locator("#panel-move .stage img").wait_for()
    return page


def at(page, x, y):
    """Where a place of the photo is on the screen."""
    box = page.locator("#panel-move .stage img").bounding_box()
    scale = box["width"] / EXAMPLE[0]
    return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale


def drag(page, *places, steps=4):
    """Along places of the photo."""
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(page, *place), steps=steps)
    page.mouse.up()


def state(page):
    """What the session keeps of the tab, once it is written."""
    page.wait_for_timeout(600)
    return page.evaluate("async () => (await (await fetch('/api/session')).json()).states.move")


def shapes(page):
    return state(page)["doc"]["shapes"]


def wait_for_film(page):
    """Until nothing is computed any more and a film is there."""
    for _ in range(600):
        if page.evaluate(
            "() => !document.querySelector('[data-computing]')"
            " && document.querySelector('#panel-move video.result').readyState >= 2"
        ):
            return
        time.sleep(0.1)
    raise AssertionError("no film")


def tool(page, name):
    page.locator(f"#panel-move [data-tool={name}]").first.click()


def test_arrow_is_dragged_the_photo_moves_and_undo_restores_the_exact_state(page):
    before = state(page)["doc"]
    drag(page, (322, 230), (322, 190))
    (arrow,) = shapes(page)
    assert arrow["type"] == "arrow"
    assert (arrow["x"], arrow["y"]) == pytest.approx((322, 230), abs=1.5)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((0, -40), abs=1.5)
    wait_for_film(page)
    grid = json.loads(page.locator("#panel-move img.result").get_attribute("data-grid"))
    near = [row for row in grid if abs(row[0] - 322) < 20 and abs(row[1] - 230) < 20]
    assert near
    assert all(dy < -20 and abs(dx) < -dy / 2 for _, _, dx, dy in near)
    for name, element in (("Motion", "canvas[data-name=flow]"), ("Film", "video.cover")):
        page.locator("#panel-move").get_by_role("button", name=name, exact=True).click()
        page.locator(f"#panel-move .stage {element}").wait_for()
    drawn = state(page)["doc"]
    page.keyboard.press("Control+z")
    assert state(page)["doc"] == before
    page.keyboard.press("Control+Shift+z")
    assert state(page)["doc"] == drawn


def test_marks_are_moved_nudged_and_deleted(page):
    drag(page, (200, 200), (260, 200))
    drag(page, (260, 200), (260, 240))  # its head
    (arrow,) = shapes(page)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((60, 40), abs=2)
    drag(page, (200, 200), (220, 210))  # its start: all of it
    (arrow,) = shapes(page)
    assert (arrow["x"], arrow["y"]) == pytest.approx((220, 210), abs=2)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((60, 40), abs=2)
    page.keyboard.press("ArrowRight")
    assert shapes(page)[0]["x"] == pytest.approx(arrow["x"] + 1)
    tool(page, "pin")
    page.mouse.click(*at(page, 100, 100))
    assert [shape["type"] for shape in shapes(page)] == ["arrow", "pin"]
    page.keyboard.press("Delete")
    assert [shape["type"] for shape in shapes(page)] == ["arrow"]
    page.mouse.click(*at(page, 240, 220))  # on the arrow: it is selected, no pin is set
    page.locator("#panel-move").get_by_role("button", name="Delete what is selected").click()
    assert shapes(page) == []


def test_zoom_keeps_the_place_under_the_pointer_and_positions(page):
    box = page.locator("#panel-move .stage img").bounding_box()
    x, y = at(page, 322, 230)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    assert page.locator("#panel-move .stage img").bounding_box()["width"] > 2 * box["width"]
    assert at(page, 322, 230) == pytest.approx((x, y), abs=1)
    drag(page, (322, 230), (330, 225))
    (arrow,) = shapes(page)
    assert (arrow["x"], arrow["dx"], arrow["dy"]) == pytest.approx((322, 8, -5), abs=0.5)
    page.keyboard.press("0")
    page.wait_for_timeout(100)
    assert page.locator("#panel-move .stage img").bounding_box() == pytest.approx(box)


@pytest.mark.slow
def test_painted_region_and_path_move_and_are_there_after_a_reload(page):
    tool(page, "brush")
    drag(page, (300, 150), (345, 150), (345, 300))
    tool(page, "path")
    drag(page, (320, 150), (330, 140), (350, 150), steps=12)
    drawn = state(page)["doc"]
    assert drawn["labels"]["width"] == EXAMPLE[0]
    assert sum(drawn["labels"]["runs"][1::2]) == EXAMPLE[0] * EXAMPLE[1]
    (path,) = drawn["shapes"]
    assert path["type"] == "path"
    assert len(path["points"]) > 5
    wait_for_film(page)
    page.reload()
    page.locator("#panel-move .stage img").wait_for()
    wait_for_film(page)
    assert state(page)["doc"] == drawn
    tool(page, "eraser")
    drag(page, (290, 140), (360, 160), (340, 310), (345, 140), (280, 150))
    smaller = state(page)["doc"]["labels"]
    assert sum(smaller["runs"][3::4]) < sum(drawn["labels"]["runs"][3::4])
    page.keyboard.press("Control+z")
    assert state(page)["doc"] == drawn


def test_files_are_saved_under_their_names(page):
    drag(page, (322, 230), (322, 200))
    wait_for_film(page)
    for name, file in (
        ("MP4", "rocket.mp4"),
        ("Flow", "rocket.flo"),
        ("Arrows", "rocket_arrows.json"),
    ):
        with page.expect_download() as saved:
            page.locator("#panel-move").get_by_role("button", name=name, exact=True).click()
        assert saved.value.suggested_filename == file
    assert json.loads(saved.value.path().read_text())["arrows"][0][:2] == pytest.approx(
        [322, 230], abs=1.5
    )
    assert "selfsup_motion.animate" in page.locator("#panel-move code").inner_text()


def test_file_that_is_no_photo_gets_a_sentence_on_the_page(page):
    page.get_by_role("button", name="Another photo").click()
    page.locator("#panel-move input[type=file]").set_input_files(
        {"name": "x.svg", "mimeType": "image/svg+xml", "buffer": b"<svg onload='alert(1)'/>"}
    )
    page.get_by_text("not a picture that can be read").wait_for()
    page.get_by_role("button", name="Take the example").click()
    page.locator("#panel-move .stage img").wait_for()


def test_touch_pinches_and_draws(open_page):
    page = open_page("move", has_touch=True)
    page.get_by_role("button", name="Take the example").click()
    page.locator("#panel-move .stage img").wait_for()
    width = page.locator("#panel-move .stage img").bounding_box()["width"]
    client = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [
            dict(zip("xy", at_start, strict=True), id=number)
            for number, at_start in enumerate(points)
        ]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    left, right = at(page, 250, 200), at(page, 390, 200)
    touch("touchStart", left, right)
    for step in range(1, 6):
        by = 20 * step
        touch("touchMove", (left[0] - by, left[1]), (right[0] + by, right[1]))
    touch("touchEnd")
    page.wait_for_timeout(100)
    assert page.locator("#panel-move .stage img").bounding_box()["width"] > 1.5 * width
    assert shapes(page) == []
    first, last = at(page, 300, 220), at(page, 320, 220)
    touch("touchStart", first)
    touch("touchMove", last)
    touch("touchEnd")
    (arrow,) = shapes(page)
    assert arrow["dx"] == pytest.approx(20, abs=1)
