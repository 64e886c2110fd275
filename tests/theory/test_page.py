"""The page and the tests name each other."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "theory.md"


def test_every_test_that_the_page_names_exists_and_every_file_is_named():
    page = PAGE.read_text(encoding="utf-8")
    files = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    defined = {name for text in files.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 25
    assert named <= defined
    linked = set(re.findall(r"\(\.\./tests/theory/(\w+\.py)\)", page))
    assert linked == set(files) - {Path(__file__).name}
