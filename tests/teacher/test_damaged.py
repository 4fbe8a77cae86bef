"""A small series of damaged and hostile files: none may run code, hang, fill the memory or end in a traceback."""

from pathlib import Path

import fuzz_opening
import hostile_code
import hostile_damage
import hostile_files
import pytest


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_open_or_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITNESS", "")
    counts = fuzz_opening.run(150, 3, tmp_path)
    found = sum(counts.values(), fuzz_opening.collections.Counter())
    assert found.total() == 150 and counts.keys() == hostile_files.KINDS.keys()
    assert {name: found[name] for name in fuzz_opening.FAULTS} == dict.fromkeys(fuzz_opening.FAULTS, 0)
    assert found[fuzz_opening.OPENED] >= 10 and counts["code in a pickle"][fuzz_opening.OPENED] == 0


def test_what_runs_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an opener that trusts every file, the series does run code: the witness works."""
    from frami_edge.teacher import opening, reading

    trusting = reading.read_content
    monkeypatch.setattr(opening, "read_content", lambda path, trust: trusting(path, True))
    monkeypatch.setattr(hostile_files, "KINDS", {"code in a pickle": (hostile_code.pickled_code, 1)})
    monkeypatch.setenv("WITNESS", "")
    counts = fuzz_opening.run(12, 0, tmp_path)
    assert counts["code in a pickle"][fuzz_opening.CODE] >= 6


def test_a_worker_without_end_or_memory_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frami_edge.teacher import opening

    def fail(path: Path, trust: bool) -> object:
        while path.name == "0":
            pass
        return bytearray(2**33)

    monkeypatch.setattr(opening, "read_content", fail)
    monkeypatch.setattr(fuzz_opening, "SECONDS", 1)
    monkeypatch.setenv("WITNESS", "")
    monkeypatch.setattr(hostile_files, "KINDS", {"whole": (hostile_damage.truncation, 1)})
    counts = fuzz_opening.run(2, 0, tmp_path)
    assert counts["whole"] == {fuzz_opening.HANG: 1, fuzz_opening.MEMORY: 1}
