"""Check the built site: every link inside leads somewhere, and nothing is fetched from elsewhere.

    python scripts/docs/check_site.py site

A link that a reader may click can lead anywhere; what a browser loads by itself cannot.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    "img": ("src", "srcset"),
    "script": ("src",),
    "link": ("href",),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
}
_NOT_LOADED = {"canonical", "next", "prev", "edit", "author"}


class Page(HTMLParser):
    """What a page links to, what it loads, and where it can be entered."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down the attributes that name something."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and _NOT_LOADED.intersection(values.get("rel", "").split()):
            return
        self.loads += [values[key] for key in _LOADED.get(tag, ()) if values.get(key)]
        self.loads += styled(values.get("style", ""))


def styled(css: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", css)
    return [url or imported for url, imported in found]


def problems(site: Path) -> list[str]:
    """A line for each link that leads nowhere and each thing that is fetched from elsewhere."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        own = path.relative_to(site).as_posix()
        for url in page.loads:
            if is_foreign(url):
                found.append(f"{own} loads {url}")
            elif not url.startswith("data:") and not _target(site, path, url).exists():
                found.append(f"{own} loads {url}, which is not there")
        for url in page.links:
            if is_foreign(url) or urlsplit(url).scheme:
                continue
            target = _target(site, path, url)
            anchor = unquote(urlsplit(url).fragment)
            if not target.exists():
                found.append(f"{own} links to {url}, which is not there")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{own} links to {url}, which has no such heading")
    for path in sorted(site.rglob("*.css")):
        own = path.relative_to(site).as_posix()
        found += [f"{own} loads {u}" for u in styled(path.read_text("utf-8")) if is_foreign(u)]
    return found


def is_foreign(url: str) -> bool:
    """Whether a URL leads to another host."""
    return url.startswith(("http:", "https:", "//"))


def _target(site: Path, page: Path, url: str) -> Path:
    path = unquote(urlsplit(url).path)
    if not path:
        return page
    target = site / path.lstrip("/") if path.startswith("/") else page.parent / path
    target = target.resolve()
    return target / "index.html" if target.is_dir() else target


def main() -> None:
    """The command line entry."""
    (folder,) = sys.argv[1:]
    site = Path(folder).resolve()
    found = problems(site)
    print(
        "\n".join(found) or f"{len(list(site.rglob('*.html')))} pages, every link leads somewhere."
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
