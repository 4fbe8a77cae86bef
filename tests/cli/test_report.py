"""`frami-edge report` as a user types it: one page, complete in itself, of a student that was just distilled."""

import base64
import io
import os
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import small
import small_runs
import soundfile
import torch
from typer.testing import CliRunner

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.cli.main import app

run = CliRunner().invoke
LABELS = ("rain", "<script>alert(1)</script>", 'a "b" & c', "dog")


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def sources(self, tag: str) -> list[bytes]:
        """What the data URIs of all such tags hold."""
        found = [attrs["src"] for name, attrs in self.tags if name == tag]
        assert all(each.startswith("data:") for each in found)
        return [base64.b64decode(each.split(",", 1)[1]) for each in found]


def distilled(folder: Path, **frontend: int) -> Path:
    """student.pt and student.run of a made-up teacher of sounds, whose labels look like HTML."""
    teacher = small_runs.make_teacher(time_dependent=False, seconds=1.0)
    card = TeacherCard(labels=LABELS, time_dependent=False, clip=Clip(seconds=1.0),
                       frontend=MelSpec.model_validate(frontend))
    checkpoints.save(folder / "teacher.pt", teacher.net, card, {})
    done = run(app, ["distill", str(folder / "teacher.pt"), "--out", str(folder / "student.pt"), "--believe-card",
                     *small.OPTIONS, "--set", "inversion.batch_size=8"])
    assert done.exit_code == 0, done.output
    assert f"frami-edge report {folder / 'student.pt'}" in done.stdout
    return folder / "student.pt"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distilled(tmp_path_factory.mktemp("distilled")).parent


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may damage, where the commands are typed."""
    shutil.copytree(original, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_a_page_of_samples_to_see_and_hear(folder: Path) -> None:
    done = run(app, ["report"])
    assert done.exit_code == 0, done.output
    assert "student.html" in done.stdout
    html = (folder / "student.html").read_text(encoding="utf-8")
    page = Page(html)
    assert all(label in page.text for label in LABELS) and not any(tag == "script" for tag, _ in page.tags)
    assert not any(link in html for link in ("<link", 'src="http', 'href="http', "@import", "url(h"))
    assert len(page.sources("img")) == 16 and page.sources("img")[0].startswith(b"\x89PNG")
    for sound in page.sources("audio"):
        wave, rate = soundfile.read(io.BytesIO(sound))
        assert rate == 16000 and len(wave) == 100 * 160 and 0.8 < abs(wave).max() <= 0.91
    assert len(set(page.sources("audio"))) == 16  # no sample twice
    told = checkpoints.load(folder / "student.pt").provenance
    verdict = told["verdict"]
    assert f"{100 * verdict['agreement']:.1f} %" in page.text and f"{verdict['bn_gap']:.3f}" in page.text
    assert f"{100 * verdict['richness']:.1f} %" in page.text and told["teacher_sha256"][:12] in page.text
    assert "first_steps = 2" in page.text and "24 synthesized log-Mels" in page.text
    for title in ("L_bn: BatchNorm gap (Eq. 4)", "T_finv (Eq. 2)", "frame-level reuse (Eq. 8)"):
        assert title in page.text
    assert "total variation" not in page.text  # FRAMI has none


def test_what_is_said_is_the_verdicts(folder: Path) -> None:
    """A student that follows its teacher, one that does so badly, and a synthesis that failed."""
    student = checkpoints.load(folder / "student.pt")
    said = []
    for agreement, confidence in [(0.99, 0.9), (0.9, 0.9), (0.99, 0.1)]:
        verdict = student.provenance["verdict"] | {"agreement": agreement, "teacher_confidence": confidence}
        checkpoints.save(folder / "student.pt", student.network, student.card,
                         student.provenance | {"verdict": verdict})
        assert run(app, ["report", "--force"]).exit_code == 0
        page = Page((folder / "student.html").read_text(encoding="utf-8"))
        said.append([attrs["class"] for tag, attrs in page.tags if tag == "p" and "said" in attrs.get("class", "")])
    assert said == [["said"], ["said doubtful"], ["said failed"]]


def test_how_much_is_shown_can_be_chosen_and_is_the_same_each_time(folder: Path) -> None:
    assert run(app, ["report", "--per-class", "2", "--classes", "3", "--out", "some.html"]).exit_code == 0
    page = Page((folder / "some.html").read_text(encoding="utf-8"))
    assert len(page.sources("img")) == 6 and "3 of 4 classes are shown" in page.text
    assert run(app, ["report", "--out", "one.html"]).exit_code == 0
    assert run(app, ["report", "--out", "two.html"]).exit_code == 0
    assert (folder / "one.html").read_text() == (folder / "two.html").read_text()


def test_a_student_of_another_runs_samples(folder: Path) -> None:
    assert run(app, ["distill", "teacher.pt", "--bank", "student.run", "--out", "small.pt", "--believe-card"]
               ).exit_code == 0
    assert run(app, ["report", "small.pt"]).exit_code == 0
    page = Page((folder / "small.html").read_text(encoding="utf-8"))
    assert "The student that is kept" in page.text and "How the samples came about" not in page.text


def test_without_overlap_there_are_pictures_and_no_sounds(tmp_path: Path) -> None:
    student = distilled(tmp_path, win_length=160)
    assert run(app, ["report", str(student)]).exit_code == 0
    page = Page(student.with_suffix(".html").read_text(encoding="utf-8"))
    assert page.sources("img") and not page.sources("audio") and "frames of this front-end do not overlap" in page.text


def test_problems_are_told_and_nothing_is_written(folder: Path) -> None:
    def refused(code: int, *words: str) -> str:
        done = run(app, ["report", *words])
        assert done.exit_code == code and "Traceback" not in done.output, done.output
        assert not list(folder.glob("*.html"))
        return " ".join(done.stderr.split())

    assert "holds no synthesized samples" in refused(3, "--run", "elsewhere")
    assert "There is no file missing.pt" in refused(3, "missing.pt")
    assert "is not a frami-edge checkpoint" in refused(3, str(_torch_file(folder / "other.pt")))
    trained = networks.build("wrn16", 4)
    checkpoints.save(folder / "trained.pt", trained, checkpoints.load(folder / "student.pt").card, {"settings": {}})
    assert "was not distilled without recordings" in refused(2, "trained.pt", "--run", "student.run")
    checkpoints.save(folder / "older.pt", trained, checkpoints.load(folder / "student.pt").card,
                     {"verdict": {"agreement": 0.9}})
    assert "of its own origin" in refused(3, "older.pt", "--run", "student.run")
    (folder / "student.run" / "bank" / "batch-00001.pt").write_bytes(b"PK damaged")
    assert "batch-00001.pt is damaged" in refused(3)
    (folder / "student.html").write_text("precious")
    done = run(app, ["report"])
    assert done.exit_code == 2 and "exists already" in done.stderr
    assert (folder / "student.html").read_text() == "precious"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_text(folder: Path) -> None:
    name = os.fsdecode(b"st\xff.pt")
    shutil.copy("student.pt", name)
    done = run(app, ["report", name, "--run", "student.run", "--out", "page.html"])
    assert done.exit_code == 0 and "st\\udcff.pt" in Path("page.html").read_text(encoding="utf-8")


def _torch_file(path: Path) -> Path:
    torch.save({"a": torch.zeros(1)}, path)
    return path


def test_a_run_whose_notes_are_lost_or_cut_off_is_shown_all_the_same(folder: Path) -> None:
    metrics = folder / "student.run" / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])
    assert run(app, ["report", "--out", "cut.html"]).exit_code == 0
    assert "How the samples came about" in (folder / "cut.html").read_text()
    metrics.unlink()
    assert run(app, ["report", "--out", "lost.html"]).exit_code == 0
    assert "How the samples came about" not in (folder / "lost.html").read_text()
