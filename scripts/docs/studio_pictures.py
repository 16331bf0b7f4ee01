"""Take the pictures of the studio: python scripts/docs/studio_pictures.py docs/pictures

Starts a studio, draws the arrow of the example photo with the mouse, and saves what the page shows
and the film that it makes. Needs the extra studio, Playwright and Debian's chromium.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_PORT = 7868
_WIDTH = 900
"""Pixels: of the picture."""
_FROM, _TO = (322, 230), (322, 194)
"""Of the arrow, in the photo."""
_PHOTO = 640, 427
"""Its width and height."""
_FILM_WIDTH = 360
_PATIENCE = 90_000


def main(folder: Path) -> None:
    """Write studio.webp and studio_film.webp."""
    command = [sys.executable, "-m", "selfsup_motion.studio", f"port={_PORT}"]
    studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert studio.stdout is not None
        while "http://" not in studio.stdout.readline():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1480, "height": 860})
            page.set_default_timeout(_PATIENCE)
            page.goto(f"http://127.0.0.1:{_PORT}")
            _take(page, folder)
            browser.close()
    finally:
        studio.terminate()
        studio.wait()


def _take(page: Page, folder: Path) -> None:
    panel = page.locator("#panel-move")
    panel.get_by_role("button", name="Take the example").click()
    canvas = panel.locator("canvas:visible").first
    canvas.wait_for()
    page.wait_for_timeout(2000)
    box = canvas.bounding_box()
    assert box is not None
    scale = min(box["width"] / _PHOTO[0], box["height"] / _PHOTO[1])
    left = box["x"] + (box["width"] - _PHOTO[0] * scale) / 2
    top = box["y"] + (box["height"] - _PHOTO[1] * scale) / 2
    page.mouse.move(left + _FROM[0] * scale, top + _FROM[1] * scale)
    page.mouse.down()
    page.mouse.move(left + _TO[0] * scale, top + _TO[1] * scale, steps=8)
    page.mouse.up()
    panel.locator("video.result[src]").wait_for()
    panel.get_by_role("button", name="Motion", exact=True).click()
    page.wait_for_timeout(3000)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    size = _WIDTH, round(shot.height * _WIDTH / shot.width)
    shot.resize(size, Image.Resampling.LANCZOS).save(folder / "studio.webp", quality=80, method=6)
    panel.get_by_label("Size").select_option("640")
    with page.expect_download() as download:
        panel.get_by_role("button", name="WebP", exact=True).click()
    _shrink(Path(download.value.path()), folder / "studio_film.webp")


def _shrink(film: Path, to: Path) -> None:
    with Image.open(film) as frames:
        size = _FILM_WIDTH, round(_FILM_WIDTH * frames.height / frames.width)
        small = []
        for number in range(0, frames.n_frames, 2):
            frames.seek(number)
            small.append(frames.convert("RGB").resize(size, Image.Resampling.LANCZOS))
        milliseconds = 2 * int(frames.info.get("duration", 42))
    small[0].save(
        to,
        save_all=True,
        append_images=small[1:],
        duration=milliseconds,
        loop=0,
        quality=60,
        method=6,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
