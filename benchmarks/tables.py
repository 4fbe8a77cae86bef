"""The tables of the results' pages that are generated, made again from the cells that are kept in docs/cells.

    python benchmarks/tables.py            # rewrites what differs, and says where
    python benchmarks/tables.py --check    # only says it: exit code 1

In a page, a table stands between two comments, of which the first says what it is made of:

    <!-- held_out docs/cells/digits-held-out -->
    <!-- finishes docs/cells/esc10-held-out/5 KL -->      (of its tables the one whose first word this is)
    <!-- overview docs/cells -->
    <!-- verdicts_of_cells docs/cells ranks -->           (or agreements)
    <!-- end -->
"""

import argparse
import re
import sys
from pathlib import Path

import finishes
import held_out
import overview
import verdicts_of_cells

from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_OK, FramiError
from frami_edge.files import write_atomically

ROOT = Path(__file__).parents[1]
SCRIPTS = "held_out|finishes|overview|verdicts_of_cells"
BLOCK = re.compile(rf"(<!-- ({SCRIPTS}) (\S+)(?: (\S+))? -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)
AGAINST = "frami"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="rewrite nothing")
    given = parser.parse_args(words)
    code = EXIT_OK
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after == before:
            continue
        print(f"{page.relative_to(ROOT)}: {'differs from its cells' if given.check else 'rewritten'}")
        if given.check:
            code = EXIT_CHECK_FAILED
        else:
            write_atomically(page, lambda aside, text=after: aside.write_text(text, encoding="utf-8"))
    return code


def pages() -> list[Path]:
    return [ROOT / "docs" / "results.md", *sorted((ROOT / "docs" / "results").glob("*.md"))]


def renewed(page: str) -> str:
    """The text of a page with each of its tables as its cells have it now."""
    return BLOCK.sub(lambda block: f"{block[1]}{table(block[2], ROOT / block[3], block[4])}\n{block[5]}", page)


def table(script: str, cells: Path, wanted: str | None) -> str:
    """Markdown, as ``python benchmarks/SCRIPT.py --out CELLS`` prints it.

    Raises:
        FramiError: there are no such cells, or no table begins with what is wanted.
    """
    if script == "held_out":
        groups = held_out.groups_below(cells)
        if not groups:
            raise FramiError(f"{cells} has no cells.")
        return held_out.table(groups, AGAINST)
    if script == "overview":
        return overview.table(cells, AGAINST)
    if script == "verdicts_of_cells":
        made = verdicts_of_cells.ranks if wanted == "ranks" else verdicts_of_cells.agreements
        return made(verdicts_of_cells.students_below(cells))
    parts = finishes.table(*finishes.read([cells]), AGAINST).split("\n\n")
    found = [part for part in parts if part.startswith(f"| {wanted}")]
    if not found:
        raise FramiError(f"No table of {cells} begins with {wanted}.")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
