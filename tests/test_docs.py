"""The links of the documentation lead somewhere, and the Python of docs/python.md runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import small
import small_runs
import soundfile
import torch
import typer

from frami_edge import checkpoints, networks, recipe
from frami_edge.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("frami_edge/**/*.md")]


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them: lower case, without punctuation, hyphens for blanks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists() and (not anchor or anchor in anchors(there)), target


COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )?(frami-edge|python benchmarks/)(?: ?)([\w-]+)(?:\.py)?(.*)$")


def commands(page: Path) -> list[tuple[str, str, list[str]]]:
    """Of the indented and fenced lines: program, command, and the options that it is given."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = [COMMAND.match(line.strip()) for line in text.splitlines() if line.startswith("    ")]
    return [(match[1], match[2], re.findall(r"(?<=\s)--?[a-z][\w-]*", match[3].partition("      #")[0]))
            for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for program, name, options in commands(page):
        if program == "frami-edge":
            assert name in known, f"frami-edge {name}"
            there = {each for parameter in known[name].params for each in (*parameter.opts, *parameter.secondary_opts)}
        else:
            there = set(re.findall(r'"(--?[a-z][\w-]*)"', (ROOT / "benchmarks" / f"{name}.py").read_text()))
        assert not set(options) - there, f"{program} {name}: {set(options) - there}"


def test_many_commands_are_looked_at() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100


def snippets(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_python_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All snippets as they stand, one after another, with a teacher and a recipe that take seconds."""
    teacher = small_runs.make_teacher()
    checkpoints.save(tmp_path / "teacher.pt", teacher.net, teacher.card, {})
    for label in teacher.card.labels:
        (tmp_path / "recordings" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "recordings" / label / "clip.wav", np.random.default_rng(0).normal(size=8000), 16000)
    load = recipe.load
    monkeypatch.setattr(recipe, "load", lambda name, more: load(name, [*small.VALUES, *more]))
    monkeypatch.chdir(tmp_path)
    given = {"network": networks.build("wrn16", 4), "x": torch.randn(2, 40, 101)}
    for snippet in snippets(ROOT / "docs" / "python.md"):
        exec(compile(snippet, "docs/python.md", "exec"), given)
    assert given["student"].training is False and (tmp_path / "student.onnx").is_file()
    assert given["exported"].parity.passed, given["exported"].parity
    assert given["hidden"].logits.shape == (2, 4) and given["answers"].shape == (12, 4)
    assert given["ours"].n == given["theirs"].n == 4
    assert given["work"].bank.whole().log_mel.shape == (12, 40, 51)
    assert "finish 3 3" in capsys.readouterr().out
