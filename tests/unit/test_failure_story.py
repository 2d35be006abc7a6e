"""Each row of the README's failure story names the tests that show it, and each such test exists and says so itself."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
HEADING = "### When something breaks"


def proofs_in(path: Path, root: Path = TESTS) -> Iterator[tuple[str, str]]:
    """(event, name) for each `@pytest.mark.proves(event)` of a test."""
    name = path.relative_to(root).with_suffix("")
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.proves":
                    yield from ((ast.literal_eval(event), f"{name}::{node.name}") for event in mark.args)


def proofs_in_the_tests() -> dict[str, set[str]]:
    found = defaultdict[str, set[str]](set)
    for path in TESTS.rglob("test_*.py"):
        for event, name in proofs_in(path):
            found[event].add(name)
    return dict(found)


def proofs_in_the_readme() -> dict[str, set[str]]:
    part = (TESTS.parent / "README.md").read_text().split(f"\n{HEADING}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| ")][1:]
    return {event.strip(): {name.strip(" `") for name in names.split(",")} for event, _, names in rows}


def test_the_readme_names_for_each_event_the_tests_that_show_it() -> None:
    assert proofs_in_the_readme() == proofs_in_the_tests()


def test_a_marked_test_is_found_and_an_unmarked_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("@pytest.mark.slow\n@pytest.mark.proves('fire', 'flood')\ndef test_a(): ...\ndef test_b(): ...\n")
    assert list(proofs_in(path, tmp_path)) == [("fire", "test_it::test_a"), ("flood", "test_it::test_a")]
