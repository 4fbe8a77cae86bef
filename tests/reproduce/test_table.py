"""Rows and comparisons that follow from the results, as Markdown, JSON and a picture."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge import recipe
from frami_edge.errors import FramiError
from frami_edge.reproduce import chart, results, table, writing
from frami_edge.reproduce.results import Result

N = 200
QUICK = recipe.load("quick").model_dump(mode="json")


def made(arm: str, right: int, seed: int = 0, **changed: object) -> Result:
    """A cell of which the first ``right`` of 200 clips were recognised."""
    kind = arm if arm in ("teacher", "student", "kd") else "data-free"
    network = "wrn40-" if kind == "teacher" else "wrn16-"
    result = Result(
        key="k", recipe=f"digits/{network}{arm}", group="digits", arm=arm, kind=kind, teacher="wrn40",
        student="" if kind == "teacher" else "wrn16", dataset="fsdd", test=["theo"], seed=seed, budget="", values=QUICK,
        labels=["no", "yes"], clips=[f"{clip}.wav" for clip in range(N)], truth=[1] * N,
        predicted=[1] * right + [0] * (N - right),
        logits=[[0.0, 1.0]] * right + [[1.0, 0.0]] * (N - right), agreement=None if kind == "teacher" else 0.9,
        seconds=120.0 + 60 * seed, samples=64, verdict={}, model_sha256="m", teacher_sha256="t",
        version="1", compute="CPU")
    return replace(result, **changed)  # type: ignore[arg-type]


CELLS = [made("frami", 180, 0), made("teacher", 190), made("noise", 60, 1), made("frami", 170, 1), made("noise", 50, 0)]


def test_rows_in_order_with_their_figures() -> None:
    teacher, noise, frami = table.rows(CELLS)
    assert [teacher.arm, noise.arm, frami.arm] == ["teacher", "noise", "frami"]
    assert (frami.seeds, frami.accuracies, frami.mean, frami.n) == ([0, 1], [90.0, 85.0], 87.5, N)
    assert frami.sd == pytest.approx(5 / 2**0.5) and teacher.sd is None
    assert (frami.minutes, frami.agreement, frami.samples) == (2.5, 90.0, [64, 64])
    assert teacher.agreement is None and frami.paper is None


def test_what_differences_are_worth() -> None:
    to_teacher, to_noise = table.comparisons(CELLS, "frami", 2000)
    assert (to_teacher.minus, to_noise.minus) == ("teacher", "noise")
    assert to_teacher.difference.mean == pytest.approx(-0.075) and to_noise.difference.mean == pytest.approx(0.6)
    assert to_noise.difference.low > 0.5 and to_noise.difference.p < 0.01
    assert to_noise.difference.p_units == 1  # all clips are of one class, which is no more than one trial
    assert (to_noise.difference.seeds, to_noise.difference.clips) == (2, N)
    assert table.comparisons(CELLS, "cmi") == []
    # the teacher names 190 of them: frami agrees with it on 190 and 180 of 200, noise on 60 and 70
    assert to_teacher.agreement is None
    assert to_noise.agreement and to_noise.agreement.mean == pytest.approx(0.6)
    mistaken = made("teacher", 0)  # whose mistakes are what shall be learned
    to_noise = table.comparisons([mistaken, made("frami", 20), made("noise", 60)], "frami", 200)[1]
    assert to_noise.agreement and to_noise.difference.mean == pytest.approx(-0.2) == -to_noise.agreement.mean
    assert table.comparisons([made("frami", 20), made("noise", 60)], "frami", 200)[0].agreement is None
    partly = [made("frami", 180, 0), made("frami", 100, 2), made("noise", 50, 0), made("noise", 50, 1)]
    assert table.comparisons(partly, "frami", 100)[0].difference.mean == pytest.approx(0.65)  # seed 0 alone


def test_what_the_verdict_tells_of_the_accuracy() -> None:
    judged = [made("frami", 100 + 10 * seed, seed, verdict={"agreement": 0.9 + seed / 100, "bn_gap": -1.0 * seed,
                                                            "samples": 64, "constant": 1.0},
                   agreement=0.9 - seed / 50) for seed in range(6)]
    told = table.correlations([*judged, made("teacher", 10), made("kd", 9)])
    assert told == {"agreement": (pytest.approx(1), pytest.approx(-1), 6),
                    "bn_gap": (pytest.approx(-1), pytest.approx(1), 6)}
    assert table.correlations(judged[:4]) == {}
    text = writing.markdown("digits", table.rows(judged), [], judged)
    assert "| agreement | +1.00 | -1.00 | 6 |" in text and "| bn gap | -1.00 | +1.00 | 6 |" in text
    alike = [replace(result, agreement=0.9) for result in judged]
    assert "| agreement | +1.00 |  | 6 |" in writing.markdown("digits", table.rows(alike), [], alike)


def test_how_close_the_teacher_is() -> None:
    """Of two classes one nat apart, p = .731: where two disagree the divergence is 2 p - 1, else zero."""
    teacher, noise, frami = made("teacher", 190), made("noise", 60), made("frami", 180)
    apart = 2 / (1 + np.exp(-1)) - 1
    rows = table.rows([teacher, noise, frami])
    assert [row.divergence for row in rows] == [None, *(pytest.approx(apart * far / N) for far in (130, 10))]
    closer = table.comparisons([teacher, noise, frami], "frami", 2000)[1].divergence
    assert closer and closer.mean == pytest.approx(-apart * 120 / N) and closer.high < 0 and closer.p < 0.01
    assert [row.divergence for row in table.rows([noise, frami])] == [None, None]  # nobody to be close to
    assert table.comparisons([noise, frami], "frami", 200)[0].divergence is None
    # the teacher's classes, but less sure of them than it: agreement sees nothing, the divergence does
    vague = made("noise", 190, logits=[[0.5 * low, 0.5 * high] for low, high in teacher.logits])
    surer = table.comparisons([teacher, vague, made("frami", 190)], "frami", 2000)[1]
    assert surer.agreement and surer.agreement.mean == 0 and surer.divergence and surer.divergence.high < 0
    cells = [teacher, noise, frami]
    text = writing.markdown("digits", rows, table.comparisons(cells, "frami", 500), cells)
    assert "| FRAMI | 90.0 |  | 1 | 200 | 90.0 | 0.023 | 64 |" in text and "| -0.277 | -0.3" in text


def test_a_gain_in_one_class_of_many_may_be_chance() -> None:
    """20 clips more of 200, all of one class or two of each: over clips the same, over ten classes not."""
    classes = [clip // 20 for clip in range(N)]
    wrong = {"frami": [], "noise": range(20), "cmi": [clip for clip in range(N) if clip % 20 < 2]}
    cells = [made(arm, 0, truth=classes, predicted=[99 if clip in misheard else classes[clip] for clip in range(N)])
             for arm, misheard in wrong.items()]
    noise, cmi = (each.difference for each in table.comparisons(cells, "frami", 500))
    assert noise.mean == cmi.mean == pytest.approx(0.1) and max(noise.p, cmi.p) < 0.01
    assert (noise.p_units, cmi.p_units) == (1, pytest.approx(2 / 2**10))


def test_an_arm_without_a_common_seed_is_left_out() -> None:
    """Where seed 0 of the one failed and seed 1 of the other is yet to come, the table is written all the same."""
    cells = [made("teacher", 190), made("noise", 60, 0), made("cmi", 70, 1), made("frami", 170, 1)]
    assert [each.minus for each in table.comparisons(cells, "frami", 100)] == ["teacher", "cmi"]


def test_what_cannot_be_compared() -> None:
    with pytest.raises(FramiError, match="different clips"):
        table.compare([made("frami", 9)], [made("noise", 9, clips=["other.wav"] * N)], results.Result.divergences)
    with pytest.raises(FramiError, match="different clips"):
        table.comparisons([made("teacher", 9, clips=["other.wav"] * N), made("frami", 9), made("noise", 9)], "frami", 9)
    with pytest.raises(FramiError, match="no seed in common"):
        table.compare([made("frami", 9, 0)], [made("noise", 9, 1)], lambda result: result.right)


def test_the_papers_number_stands_beside_its_own_split(monkeypatch: pytest.MonkeyPatch) -> None:
    real = table.recipe.cell
    monkeypatch.setattr(table.recipe, "cell", lambda name: real(name).model_copy(update={"paper": 81.25}))  # type: ignore[union-attr]
    assert table.rows([made("frami", 180)])[0].paper == 81.25
    assert table.rows([made("frami", 180, test=["jackson"])])[0].paper is None
    text = writing.markdown("digits", table.rows([made("frami", 180)]), [], [made("frami", 180)])
    assert "| FRAMI | 90.0 |  | 1 | 200 | 90.0 |  | 64 | 2.0 | 81.25 |" in text


def test_efforts_are_called_equal_only_where_they_are() -> None:
    def how(*cells: Result) -> str:
        return writing.markdown("digits", table.rows(cells), [], cells).splitlines()[2]

    frami, noise = made("frami", 180), made("noise", 60)
    assert "equal samples and steps of the student" in how(frami, noise)
    assert "equal time, 10m for each" in how(replace(frami, budget="10m"), replace(noise, budget="10m", samples=999))
    longer = recipe.load("quick", ["distillation.finish.steps=4000"]).model_dump(mode="json")
    timed = recipe.load("quick", ["inversion.minutes=5"]).model_dump(mode="json")
    for other in ({"samples": 128}, {"values": longer}, {"values": timed}):
        assert "by the recipe of each row" in how(frami, replace(noise, **other))  # type: ignore[arg-type]
    cells = [made("frami", 180, seed, budget="1m", samples=samples) for seed, samples in enumerate((300, 100, 200))]
    assert "| 100 to 300 |" in writing.markdown("digits", table.rows(cells), [], cells)


def test_a_teacher_that_was_given_is_called_what_it_is(tmp_path: Path) -> None:
    cells = [replace(cell, given_teacher="state_dict in net.py:build") for cell in CELLS]
    assert "test theo: state_dict in net.py:build -> wrn16" in writing.markdown("digits", table.rows(cells), [], cells)
    cells[0].write(tmp_path)
    assert results.read(tmp_path) == cells[0]
    content = json.loads((tmp_path / "cell.json").read_text())
    del content["given_teacher"]  # which earlier versions did not write
    (tmp_path / "cell.json").write_text(json.dumps(content))
    assert results.read(tmp_path) == CELLS[0]


def test_three_files_that_say_the_same(tmp_path: Path) -> None:
    paths = writing.write(tmp_path, "digits", CELLS, "frami")
    assert [path.name for path in paths] == ["digits.md", "digits.json", "digits.svg"]
    text, content, picture = (path.read_text() for path in paths)
    assert "| FRAMI | 87.5 | 3.5 | 2 | 200 | 90.0 | 0.035 | 64 | 2.5 |  |" in text
    assert "| noise | +60.0 | " in text and "Free Spoken Digit Dataset, test theo: wrn40 -> wrn16" in text
    read = json.loads(content)
    assert [row["mean"] for row in read["rows"]] == [95.0, 27.5, 87.5]
    assert read["comparisons"][1]["difference"]["mean"] == pytest.approx(0.6)
    assert read["comparisons"][0]["agreement"] is None and read["comparisons"][0]["difference"]["p_units"] == 1
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [{line.count("|") for line in lines} for lines in tables] == [{11}, {15}]
    assert read["comparisons"][1]["agreement"]["mean"] == pytest.approx(0.6)
    widths = [float(bar.attrib["width"]) for bar in svg(picture, "bar")]
    assert np.allclose(np.array(widths) / chart.BARS, [0.95, 0.275, 0.875], atol=1e-3)


def svg(text: str, kind: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(text).iter() if node.attrib.get("class") == kind]


@given(st.lists(st.builds(chart.Bar, st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=9),
                          st.floats(0, 100), st.none() | st.floats(0, 50), st.none() | st.floats(0, 100)), max_size=5))
def test_every_chart_is_xml_and_stays_in_its_frame(entries: list[chart.Bar]) -> None:
    text = chart.bars("a < b & c", entries)
    assert len(svg(text, "bar")) == len(entries)
    assert len(svg(text, "sd")) == sum(entry.sd is not None for entry in entries)
    assert len(svg(text, "paper")) == sum(entry.paper is not None for entry in entries)
    for whisker in svg(text, "sd"):
        assert chart.LABELS <= float(whisker.attrib["x1"]) <= float(whisker.attrib["x2"]) <= chart.LABELS + chart.BARS


def test_a_result_is_read_back_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "wrn16-frami-0-00000000"
    cell = made("frami", 180)
    cell.write(folder)
    assert results.read(folder) == results.read(folder, "k") == cell
    assert results.read(folder, "other key") is None
    assert results.below(tmp_path) == [cell]
    whole = (folder / "cell.json").read_bytes()
    for damaged in (b"", whole[:100], b"[]", b"{}", whole.replace(b'"truth": [1, ', b'"truth": ['), b"\xed\xa0\x80"):
        (folder / "cell.json").write_bytes(damaged)
        assert results.read(folder) is None


def test_each_column_has_its_own_comparisons() -> None:
    """A teacher, which has no student, is of its column alone."""
    other = [replace(cell, teacher="res34", student="res18" if cell.student else "") for cell in CELLS]
    cells = [*CELLS, *(replace(cell, predicted=[0] * N) if cell.arm == "frami" else cell for cell in other)]
    text = writing.markdown("digits", table.rows(cells), table.comparisons(cells, "teacher", 100), cells)
    ours, theirs = (part for part in text.split("## ") if "-> " in part)
    assert all(part.count("| FRAMI | +") == 1 for part in (ours, theirs)) and ours != theirs
