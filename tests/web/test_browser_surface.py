"""The drawing surface and the tab Move, as somebody with a mouse and a keyboard uses them."""

import json

import pytest
from tabs import Tab

pytestmark = pytest.mark.browser

EXAMPLE = (640, 427)


@pytest.fixture
def tab(open_page):
    """The tab Move with the example photo."""
    tab = Tab(open_page("move"), "move")
    tab.take_example()
    return tab


def shapes(tab):
    return tab.kept()["doc"]["shapes"]


def wait_for_film(tab):
    """Until nothing is computed any more and a film is there."""
    tab.settled()
    tab.until("() => document.querySelector('#panel-move video.result').readyState >= 2")


def tool(tab, name):
    tab.panel.locator(f"[data-tool={name}]").first.click()


def test_arrow_is_dragged_the_photo_moves_and_undo_restores_the_exact_state(tab):
    before = tab.kept()["doc"]
    tab.drag((322, 230), (322, 190))
    (arrow,) = shapes(tab)
    assert arrow["type"] == "arrow"
    assert (arrow["x"], arrow["y"]) == pytest.approx((322, 230), abs=1.5)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((0, -40), abs=1.5)
    wait_for_film(tab)
    grid = json.loads(tab.panel.locator("img.result").get_attribute("data-grid"))
    near = [row for row in grid if abs(row[0] - 322) < 20 and abs(row[1] - 230) < 20]
    assert near
    assert all(dy < -20 and abs(dx) < -dy / 2 for _, _, dx, dy in near)
    for name, element in (("Motion", "canvas[data-name=flow]"), ("Film", "video.cover")):
        tab.button(name).click()
        tab.panel.locator(f".stage {element}").wait_for()
    drawn = tab.kept()["doc"]
    tab.page.keyboard.press("Control+z")
    assert tab.kept()["doc"] == before
    tab.page.keyboard.press("Control+Shift+z")
    assert tab.kept()["doc"] == drawn


def test_marks_are_moved_nudged_and_deleted(tab):
    tab.drag((200, 200), (260, 200))
    tab.drag((260, 200), (260, 240))  # its head
    (arrow,) = shapes(tab)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((60, 40), abs=2)
    tab.drag((200, 200), (220, 210))  # its start: all of it
    (arrow,) = shapes(tab)
    assert (arrow["x"], arrow["y"]) == pytest.approx((220, 210), abs=2)
    assert (arrow["dx"], arrow["dy"]) == pytest.approx((60, 40), abs=2)
    tab.page.keyboard.press("ArrowRight")
    assert shapes(tab)[0]["x"] == pytest.approx(arrow["x"] + 1)
    tool(tab, "pin")
    tab.click(100, 100)
    assert [shape["type"] for shape in shapes(tab)] == ["arrow", "pin"]
    tab.page.keyboard.press("Delete")
    assert [shape["type"] for shape in shapes(tab)] == ["arrow"]
    tab.click(240, 220)  # on the arrow: it is selected, no pin is set
    tab.button("Delete what is selected").click()
    assert shapes(tab) == []


def test_zoom_keeps_the_place_under_the_pointer_and_positions(tab):
    box = tab.box()
    x, y = tab.at(322, 230)
    tab.wheel(322, 230, -600)
    assert tab.box()["width"] > 2 * box["width"]
    assert tab.at(322, 230) == pytest.approx((x, y), abs=1)
    tab.drag((322, 230), (330, 225))
    (arrow,) = shapes(tab)
    assert (arrow["x"], arrow["dx"], arrow["dy"]) == pytest.approx((322, 8, -5), abs=0.5)
    tab.page.keyboard.press("0")
    assert tab.box() == pytest.approx(box)


@pytest.mark.slow
def test_painted_region_and_path_move_and_are_there_after_a_reload(tab):
    tool(tab, "brush")
    tab.drag((300, 150), (345, 150), (345, 300))
    tool(tab, "path")
    tab.drag((320, 150), (330, 140), (350, 150), steps=12)
    drawn = tab.kept()["doc"]
    assert drawn["labels"]["width"] == EXAMPLE[0]
    assert sum(drawn["labels"]["runs"][1::2]) == EXAMPLE[0] * EXAMPLE[1]
    (path,) = drawn["shapes"]
    assert path["type"] == "path"
    assert len(path["points"]) > 5
    wait_for_film(tab)
    tab.page.reload()
    tab.picture.wait_for()
    wait_for_film(tab)
    assert tab.kept()["doc"] == drawn
    tool(tab, "eraser")
    tab.drag((290, 140), (360, 160), (340, 310), (345, 140), (280, 150))
    smaller = tab.kept()["doc"]["labels"]
    assert sum(smaller["runs"][3::4]) < sum(drawn["labels"]["runs"][3::4])
    tab.page.keyboard.press("Control+z")
    assert tab.kept()["doc"] == drawn


def test_files_are_saved_under_their_names(tab):
    tab.drag((322, 230), (322, 200))
    wait_for_film(tab)
    for name, file in (
        ("MP4", "rocket.mp4"),
        ("Flow", "rocket.flo"),
        ("Arrows", "rocket_arrows.json"),
    ):
        with tab.page.expect_download() as saved:
            tab.button(name).click()
        assert saved.value.suggested_filename == file
    assert json.loads(saved.value.path().read_text())["arrows"][0][:2] == pytest.approx(
        [322, 230], abs=1.5
    )
    assert "selfsup_motion.animate" in tab.panel.locator("code").inner_text()


def test_drawing_is_kept_by_a_studio_that_did_not_answer_at_first(tab):
    sent = []

    def fail_once(route):
        sent.append(route)
        route.abort() if len(sent) == 1 else route.continue_()

    tab.kept()
    tab.page.route("**/api/states", fail_once)
    tab.drag((322, 230), (322, 200))
    assert [shape["type"] for shape in shapes(tab)] == ["arrow"]
    assert len(sent) > 1


def test_file_that_is_no_photo_gets_a_sentence_on_the_page(tab):
    tab.button("Another photo").click()
    tab.panel.locator("input[type=file]").set_input_files(
        {"name": "x.svg", "mimeType": "image/svg+xml", "buffer": b"<svg onload='alert(1)'/>"}
    )
    tab.page.get_by_text("not a picture that can be read").wait_for()
    tab.take_example()


def test_touch_pinches_and_draws(open_page):
    tab = Tab(open_page("move", has_touch=True), "move")
    tab.take_example()
    width = tab.box()["width"]
    client = tab.page.context.new_cdp_session(tab.page)

    def touch(kind, *points):
        places = [
            dict(zip("xy", at_start, strict=True), id=number)
            for number, at_start in enumerate(points)
        ]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    left, right = tab.at(250, 200), tab.at(390, 200)
    touch("touchStart", left, right)
    for step in range(1, 6):
        by = 20 * step
        touch("touchMove", (left[0] - by, left[1]), (right[0] + by, right[1]))
    touch("touchEnd")
    assert tab.box()["width"] > 1.5 * width
    assert shapes(tab) == []
    first, last = tab.at(300, 220), tab.at(320, 220)
    touch("touchStart", first)
    touch("touchMove", last)
    touch("touchEnd")
    (arrow,) = shapes(tab)
    assert arrow["dx"] == pytest.approx(20, abs=1)
