"""Generated files and generated parts of pages are up to date."""

from __future__ import annotations

import pytest

from scripts.generate import ROOT, filled, generated

WANTED = {str(path.relative_to(ROOT)): text for path, text in generated().items()}


@pytest.mark.parametrize("name", WANTED)
def test_a_generated_file_is_current(name: str) -> None:
    path, wanted = ROOT / name, WANTED[name]
    assert path.exists(), "run python -m scripts.generate"
    assert path.read_text("utf-8") == wanted, "run python -m scripts.generate"


def test_a_generated_part_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="tables of nothing"):
        filled("<!-- tables of nothing -->\n<!-- /tables of nothing -->\n")


def test_only_the_text_between_the_comments_is_rewritten() -> None:
    page = "before\n\n<!-- install -->\nold\n<!-- /install -->\n\nafter\n"
    made = filled(page)
    assert made.startswith("before\n\n<!-- install -->\n```sh\nuv tool install ")
    assert made.endswith("\n```\n<!-- /install -->\n\nafter\n")
