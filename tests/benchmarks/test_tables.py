"""benchmarks/tables.py: what docs/results tells is what the cells in docs/cells hold."""

from pathlib import Path

import pytest
import tables

from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_OK, FramiError


def test_the_tables_that_are_told_are_those_of_the_cells_that_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--check"]) == EXIT_OK, capsys.readouterr().out
    told = {block[3].split("/")[2] for page in tables.pages() for block in tables.BLOCK.finditer(page.read_text())
            if block[2] in ("held_out", "finishes")}
    kept = {folder.name for folder in (tables.ROOT / "docs" / "cells").iterdir()}
    in_a_sentence = {"digits-demo-6m-refined", "digits-demo-refined", "digits-held-out-8m-clipped",
                     "digits-vendor-refined", "esc10-6m-refined", "esc10-6m-refined-40", "esc10-vendor",
                     "esc10-vendor-muon"}  # told with their commands
    assert kept - told == in_a_sentence


def test_what_differs_is_said_and_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    cells = "docs/cells/digits-held-out"
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "cells").symlink_to(tables.ROOT / "docs" / "cells", target_is_directory=True)
    (tmp_path / "docs" / "results.md").write_text("No table.\n")
    page = tmp_path / "docs" / "results" / "page.md"
    page.write_text(f"Before\n\n<!-- held_out {cells}-res34 -->\n| made up |\n<!-- end -->\n\nBetween\n\n"
                    f"<!-- finishes {cells}-8m/jackson KL -->\n<!-- end -->\nAfter\n")
    before = page.read_text()
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.main(["--check"]) == EXIT_CHECK_FAILED and page.read_text() == before
    assert tables.main([]) == EXIT_OK and capsys.readouterr().out.count("page.md") == 2
    text = page.read_text()
    assert all(word in text for word in ("Before", "Between", "After", "| FRAMI | 1 | 1 | 500 |", "| all | "))
    assert "made" not in text
    assert tables.main(["--check"]) == EXIT_OK and not capsys.readouterr().out


def test_what_is_not_there() -> None:
    with pytest.raises(FramiError, match="has no cells"):
        tables.table("held_out", tables.ROOT / "docs" / "cells" / "nothing", None)
    with pytest.raises(FramiError, match="begins with nonsense"):
        tables.table("finishes", tables.ROOT / "docs" / "cells" / "esc10-held-out" / "5", "nonsense")
