"""What README and the pages in docs/ consist of: links, headings, fenced blocks."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\S*)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<code>.*?)^(?P=indent)```$",
    re.M | re.S,
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]*?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    `line` is that of its first line of code, `reason` why it is not run, or None; `title` is the
    name of the file that it is.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str | None
    title: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        indent = len(match["indent"])
        code = "\n".join(row[indent:] for row in match["code"].split("\n"))
        mark = _NOT_RUN.search(text, 0, match.start())
        found.append(
            Block(page, line, match["language"], code, mark and mark["reason"], match["title"])
        )
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(text: str) -> list[str]:
    """The targets of links and pictures in prose."""
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)


def anchors(page: Path) -> set[str]:
    """What `page.md#…` may name: the headings, as MkDocs writes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        found.add(next(s for s in (slug, *(f"{slug}_{n}" for n in range(1, 99))) if s not in found))
    return found
