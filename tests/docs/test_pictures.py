"""The pictures of the documentation are what the package draws."""

import io
import sys

import numpy as np
import pytest
from documents import PAGES, ROOT
from PIL import Image

FOLDER = ROOT / "docs" / "pictures"
OF_PHOTOS = {"cmp_photos.webp"}
"""Drawn by scripts/docs/photo_answers.py on photos that do not come with the package."""
OF_THE_STUDIO = {"studio.webp", "studio_film.webp"}
"""Taken by scripts/docs/studio_pictures.py in a browser."""
MEASURED = {"costs.png"}
"""Drawn by benchmarks/bench.py."""
ELSEWHERE = OF_PHOTOS | OF_THE_STUDIO | MEASURED
FILES = sorted(file for file in FOLDER.iterdir() if file.name not in ELSEWHERE)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts" / "docs"))
    try:
        import pictures
    finally:
        del sys.path[0]
    return pictures


def levels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


@pytest.fixture(scope="module")
def drawn(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    script.draw_all(folder)
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_picture_is_what_is_drawn(drawn, file):
    again = (drawn / file.name).read_bytes()
    if file.suffix == ".svg":
        assert again == file.read_bytes()
        return
    before, now = levels(file.read_bytes()), levels(again)
    assert before.shape == now.shape
    # other versions of libraries round otherwise
    assert np.abs(before - now).mean() < 3, "make docs-pictures"


def test_every_picture_that_is_drawn_is_there(drawn):
    assert {file.name for file in drawn.iterdir()} == {file.name for file in FILES}


def test_pictures_are_small_and_shown():
    used = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    used += (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for file in FOLDER.iterdir():
        assert file.stat().st_size < 100_000, file.name
        assert f"pictures/{file.name}" in used, file.name
