"""A tab of the studio's page in a browser, as somebody with a mouse and a keyboard uses it."""

from __future__ import annotations

from typing import Any


class Tab:
    """One tab of a page.

    Args:
        page: the page, open at the tab.
        name: "move", "annotate", "follow" or "inspect".
        picture: selector of what is drawn on, below the tab.
        size: width and height of that picture in its own pixels.
    """

    def __init__(
        self, page: Any, name: str, picture: str = ".stage img", size: tuple[int, int] = (640, 427)
    ) -> None:
        self.page = page
        self.panel = page.locator(f"#panel-{name}")
        self.picture = self.panel.locator(picture).first
        self._name, self._size = name, size

    def box(self) -> dict[str, float]:
        """Where the picture is on the screen: x, y, width and height."""
        self.drawn()
        box: dict[str, float] = self.picture.bounding_box()
        return box

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the picture is on the screen."""
        box = self.box()
        scale = box["width"] / self._size[0]
        return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale

    def click(self, x: float, y: float, **options: Any) -> None:
        """On a place of the picture."""
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *places: tuple[float, float], steps: int = 4) -> None:
        """Along places of the picture."""
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=steps)
        self.page.mouse.up()

    def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the wheel at a place of the picture, until the picture has another size."""
        width = self.box()["width"]
        self.page.mouse.move(*self.at(x, y))
        self.page.mouse.wheel(0, by)
        for _ in range(2000):  # each look waits for the screen's next frames
            if self.box()["width"] != width:
                return
        raise AssertionError("the wheel does nothing")

    def button(self, name: str) -> Any:
        return self.panel.get_by_role("button", name=name, exact=True)

    def take_example(self) -> None:
        self.panel.get_by_role("button", name="Take the example").click()
        self.picture.wait_for()

    def drawn(self) -> None:
        """Until the page is drawn as it is now: it draws with the screen's next frame."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def settled(self) -> None:
        """Until nothing is computed any more."""
        self.drawn()
        self.until("() => !document.querySelector('[data-computing]')")

    def until(self, script: str) -> None:
        """Until a function of the page answers with true."""
        self.page.wait_for_function(script)

    def kept(self) -> Any:
        """What the session keeps of the tab, once all of it is written."""
        self.drawn()
        self.page.wait_for_selector("body:not([data-keeping])", state="attached")
        return self.page.evaluate(
            "async (tab) => (await (await fetch('/api/session')).json()).states[tab]", self._name
        )
