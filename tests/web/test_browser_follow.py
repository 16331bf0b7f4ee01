"""The tab Follow, as somebody with a mouse uses it: paint, follow, correct, follow again, save."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from tabs import Tab

pytestmark = pytest.mark.browser

SIZE = (256, 192)


def follow(tab, name):
    tab.button(name).click()
    tab.page.wait_for_selector("#panel-follow [data-following]")
    tab.page.wait_for_selector("#panel-follow .surface:not([data-following])")


def masks(tab):
    """What is saved, (T, H, W)."""
    with tab.page.expect_download() as saved:
        tab.panel.locator("[data-save=masks]").click()
    with zipfile.ZipFile(saved.value.path()) as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".png"))
        return np.stack([np.asarray(Image.open(io.BytesIO(packed.read(n)))) for n in names])


def go(tab, number):
    tab.panel.locator("[aria-label=Frame]").fill(str(number))
    tab.page.wait_for_selector(f"#panel-follow .surface[data-frame='{number}']")


def test_object_is_painted_followed_corrected_in_frame_20_and_saved(open_page):
    tab = Tab(open_page("follow"), "follow", ".stage > canvas", SIZE)
    page = tab.page
    tab.take_example()
    page.wait_for_selector("#panel-follow .surface[data-frame='0']")
    tab.drag((161, 60), (168, 80), (163, 98))
    follow(tab, "Follow")
    before = masks(tab)
    assert before.shape == (60, SIZE[1], SIZE[0])
    assert before[0, 60, 161] == 1
    assert 100 < (before[59] == 1).sum() < 4000
    go(tab, 20)
    tab.drag((20, 20), (60, 20))
    assert "corrected" in tab.panel.locator(".side").inner_text()
    follow(tab, "Follow again from what has changed")
    after = masks(tab)
    np.testing.assert_array_equal(after[:20], before[:20])
    assert after[20, 20, 40] == 1
    assert (after[25] != before[25]).any()
    page.reload()
    page.wait_for_selector("#panel-follow .surface[data-frame]")
    assert [key["frame"] for key in tab.kept()["keys"]] == [0, 20]
    assert "up to frame 59" in tab.panel.locator(".side").inner_text()
