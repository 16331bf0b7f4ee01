"""Links inside README and docs, before and after the site is built."""

import importlib.util
import sys
from pathlib import Path

import pytest
from documents import PAGES, ROOT, anchors, links, prose


def script(name: str):
    """A module of scripts/docs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated = script("pages")
check_site = script("check_site")
GENERATED = generated.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    lost = []
    for link in links(prose(page)):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if page.parent.name == "docs" and path in GENERATED:
            continue  # made from other files when the site is built
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert all(f" {page.name}\n" in nav for page in (ROOT / "docs").glob("*.md"))


def test_generated_pages_do_not_link_into_the_repository():
    known = {path.name for path in (ROOT / "docs").iterdir()} | set(GENERATED)
    for name in generated.FILES:
        for link in links(GENERATED[name]):
            path = link.partition("#")[0]
            assert link.startswith("https://") or not path or path.split("/")[0] in known, name


def test_each_recipe_is_described():
    text = generated.recipes()
    for path in (ROOT / "conf" / "experiment").rglob("[!_]*.yaml"):
        name = path.relative_to(ROOT / "conf" / "experiment").with_suffix("").as_posix()
        assert f"### `{name}`\n" in text


def site(folder: Path, body: str) -> list[str]:
    (folder / "a.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "b.html").write_text('<h2 id="there">b</h2>')
    return check_site.problems(folder)


def test_a_sound_site_has_no_problem(tmp_path):
    (tmp_path / "p.png").touch()
    good = '<a href="b.html#there"></a><a href="https://arxiv.org"></a><img src="p.png">'
    assert site(tmp_path, good) == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<a href="c.html">', "a.html links to c.html, which is not there"),
        ('<a href="b.html#here">', "a.html links to b.html#here, which has no such heading"),
        ('<img src="p.png">', "a.html loads p.png, which is not there"),
        ('<script src="https://x.org/a.js"></script>', "a.html loads https://x.org/a.js"),
        ('<link rel="stylesheet" href="//x.org/a.css">', "a.html loads //x.org/a.css"),
        ('<p style="background: url(http://x.org/a.png)">', "a.html loads http://x.org/a.png"),
    ],
)
def test_broken_links_and_foreign_files_are_told(tmp_path, body, told):
    assert site(tmp_path, body) == [told]


def test_foreign_fonts_of_style_sheets_are_told(tmp_path):
    (tmp_path / "s.css").write_text("@import 'https://fonts.org/f.css'; a { b: url(x.png) }")
    assert site(tmp_path, "") == ["s.css loads https://fonts.org/f.css"]


def test_the_check_ends_with_a_status(tmp_path, monkeypatch, capsys):
    site(tmp_path, '<a href="c.html">')
    monkeypatch.setattr(sys, "argv", ["check_site.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        check_site.main()
    assert "links to c.html" in capsys.readouterr().out
