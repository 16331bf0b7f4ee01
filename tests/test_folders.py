"""Each folder of tests says what it covers."""

from pathlib import Path

HERE = Path(__file__).parent


def test_each_folder_of_tests_says_what_it_covers():
    for folder in HERE.iterdir():
        if any(folder.glob("test_*.py")):
            assert len((folder / "README.md").read_text(encoding="utf-8").split()) > 3, folder.name
