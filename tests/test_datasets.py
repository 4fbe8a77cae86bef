"""Layouts of data sets, made of empty files: labels in the official order, groups that a fair split keeps apart."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge.datasets import locate, open_dataset
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.layouts import LAYOUTS

ESC50_CSV = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
5-9032-A-0.wav,5,0,dog,True,9032,A
1-17367-A-10.wav,1,10,rain,True,17367,A
2-11111-B-2.wav,2,2,pig,False,11111,B
"""
URBANSOUND_CSV = """slice_file_name,fsID,start,end,salience,fold,classID,class
7061-6-0-0.wav,7061,0,1,1,10,6,gun_shot
100032-3-0-0.wav,100032,0.0,0.3,1,5,3,dog_bark
"""


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def make_esc50(folder: Path) -> Path:
    make(folder, "audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/1-17367-A-10.wav", "audio/2-11111-B-2.wav",
         "meta/esc50.csv")
    (folder / "meta" / "esc50.csv").write_text(ESC50_CSV)
    return folder


def rows(folder: Path, layout: str = "auto") -> tuple[str, list[tuple[str, str, str]]]:
    """The layout that was found, and (file, label, group) of each clip."""
    data = open_dataset(folder, layout)
    return data.name, [(clip.path.name, data.labels[clip.label], clip.group) for clip in data.clips]


def test_esc50_in_the_order_of_its_targets(tmp_path: Path) -> None:
    data = open_dataset(make_esc50(tmp_path))
    assert (data.name, data.labels, data.groups) == ("esc50", ("dog", "pig", "rain"), ["1", "2", "5"])
    assert not data.time_dependent
    assert [(clip.path.name, clip.label, clip.group) for clip in data.clips] == [
        ("1-100032-A-0.wav", 0, "1"), ("5-9032-A-0.wav", 0, "5"), ("2-11111-B-2.wav", 1, "2"),
        ("1-17367-A-10.wav", 2, "1")]


def test_esc10_is_a_part_of_esc50(tmp_path: Path) -> None:
    assert open_dataset(make_esc50(tmp_path), "esc10").labels == ("dog", "rain")


def test_esc10_folders(tmp_path: Path) -> None:
    make(tmp_path, "010 - Fire crackling/5-186924-A.ogg", "001 - Dog bark/1-30226-A.ogg", "README.md")
    assert rows(tmp_path) == ("esc10", [("1-30226-A.ogg", "Dog bark", "1"),
                                        ("5-186924-A.ogg", "Fire crackling", "5")])


def test_urbansound8k(tmp_path: Path) -> None:
    make(tmp_path, "audio/fold5/100032-3-0-0.wav", "audio/fold10/7061-6-0-0.wav", "metadata/UrbanSound8K.csv")
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text(URBANSOUND_CSV)
    assert rows(tmp_path) == ("urbansound8k", [("100032-3-0-0.wav", "dog_bark", "5"),
                                               ("7061-6-0-0.wav", "gun_shot", "10")])


@pytest.mark.parametrize("inside", ["data/", ""])
def test_audiomnist(tmp_path: Path, inside: str) -> None:
    make(tmp_path, f"{inside}01/9_01_0.wav", f"{inside}01/0_01_49.wav", f"{inside}60/0_60_3.wav")
    assert rows(tmp_path) == ("audiomnist", [("0_01_49.wav", "0", "01"), ("0_60_3.wav", "0", "60"),
                                             ("9_01_0.wav", "9", "01")])
    assert open_dataset(tmp_path).time_dependent


@pytest.mark.parametrize("inside", ["recordings/", ""])
def test_fsdd(tmp_path: Path, inside: str) -> None:
    make(tmp_path, f"{inside}1_theo_12.wav", f"{inside}0_jackson_0.wav", f"{inside}notes.wav")
    assert rows(tmp_path) == ("fsdd", [("0_jackson_0.wav", "0", "jackson"), ("1_theo_12.wav", "1", "theo")])


def test_folders_with_and_without_groups(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.WAV", "dog/alice/b.flac", "dog/bob/1/c.mp3", "dog/notes.txt", "cat/._a.wav", ".git/x.wav",
         "loose.wav")
    assert rows(tmp_path) == ("folders", [("a.WAV", "cat", ""), ("b.flac", "dog", "alice"), ("c.mp3", "dog", "bob/1")])
    assert open_dataset(tmp_path).groups == ["alice", "bob/1"]


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.wav", "data/dog/b.wav")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "lion").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "dog" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nowhere")
    assert rows(tmp_path / "data") == ("folders", [("a.wav", "cat", ""), ("b.wav", "dog", ""), ("a.wav", "lion", "")])


def test_defaults_can_be_overridden(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.wav", "dog/b.wav")
    data = open_dataset(tmp_path, time_dependent=False, seconds=3.5)
    assert (data.time_dependent, data.seconds) == (False, 3.5)


def test_split_keeps_groups_apart(tmp_path: Path) -> None:
    make(tmp_path, *(f"{digit}_{speaker}_{take}.wav" for digit in range(3) for speaker in ("ann", "bob", "cy")
                     for take in range(2)))
    data = open_dataset(tmp_path)
    rest, test = data.split("bob", "cy")
    assert (len(rest.clips), rest.groups) == (6, ["ann"])
    assert (len(test.clips), test.groups) == (12, ["bob", "cy"])
    assert data.split()[0] == data
    with pytest.raises(FramiError, match="no group 'bop'") as raised:
        data.split("bop")
    assert "Did you mean 'bob'" in raised.value.hint
    assert raised.value.exit_code == EXIT_USAGE


def test_labels_follow_the_card(tmp_path: Path) -> None:
    make(tmp_path, "dog_bark/a.wav", "Rain/b.wav")
    data = open_dataset(tmp_path).with_labels(("rain", "chainsaw", "Dog bark"))
    assert data.labels == ("rain", "chainsaw", "Dog bark")
    assert {clip.path.name: clip.label for clip in data.clips} == {"a.wav": 2, "b.wav": 0}


def test_labels_that_differ_in_a_dash_alone_are_two_classes(tmp_path: Path) -> None:
    make(tmp_path, "-1/a.wav", "1/b.wav")
    data = open_dataset(tmp_path).with_labels(("1", "-1"))
    assert {clip.path.name: clip.label for clip in data.clips} == {"a.wav": 1, "b.wav": 0}
    with pytest.raises(FramiError, match="class"):
        open_dataset(tmp_path).with_labels(("- 1", "_1"))  # either may be meant


def test_two_classes_are_not_made_one(tmp_path: Path) -> None:
    make(tmp_path, "dog_bark/a.wav", "dog bark/b.wav")
    with pytest.raises(FramiError, match="would both be 'Dog bark'"):
        open_dataset(tmp_path).with_labels(("Dog bark", "rain"))


def test_a_class_that_the_card_lacks_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "dog/a.wav", "rain/b.wav")
    with pytest.raises(FramiError, match="1 of 2 classes that the model does not have, such as 'dog'") as raised:
        open_dataset(tmp_path).with_labels(("rain", "dogs"))
    assert "Did you mean 'dogs'" in raised.value.hint


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="There is no folder"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(FramiError, match="no data set layout 'fsd'") as raised:
        open_dataset(tmp_path, "fsd")
    assert "'fsdd'" in raised.value.hint
    with pytest.raises(FramiError, match="No labelled recordings") as raised:
        open_dataset(tmp_path)
    assert all(layout in raised.value.hint for layout in LAYOUTS)
    with pytest.raises(FramiError, match="No labelled recordings"):
        open_dataset(make(tmp_path, "dog/a.wav"), "fsdd")


def test_an_incomplete_table_or_folder_is_told(tmp_path: Path) -> None:
    make_esc50(tmp_path)
    (tmp_path / "audio" / "2-11111-B-2.wav").unlink()
    with pytest.raises(FramiError, match=r"2-11111-B-2\.wav is missing"):
        open_dataset(tmp_path)
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold\n")
    with pytest.raises(FramiError, match="no column category, esc10, target"):
        open_dataset(tmp_path)


def test_what_is_missing_is_said_exactly(tmp_path: Path) -> None:
    below = make_esc50(tmp_path / "sets" / "ESC-50-master")
    with pytest.raises(FramiError, match=r"has no meta/esc50.csv and audio/") as raised:
        open_dataset(tmp_path / "sets", "esc50")
    assert str(below) in raised.value.hint
    with pytest.raises(FramiError) as raised:
        open_dataset(below / "audio", "esc50")
    assert f"Give {below} instead" in raised.value.hint
    with pytest.raises(FramiError, match="has no metadata/UrbanSound8K.csv") as raised:
        open_dataset(below, "urbansound8k")
    assert "8732 clips, CC BY-NC 3.0): https://urbansounddataset" in raised.value.hint
    with pytest.raises(FramiError, match="There is no folder") as raised:
        open_dataset(tmp_path / "AudioMNIST", "audiomnist")
    assert "https://github.com/soerenab/AudioMNIST" in raised.value.hint and "MIT" in raised.value.hint
    for name in ("1-100032-A-0.wav", "5-9032-A-0.wav"):
        (below / "audio" / name).unlink()
    with pytest.raises(FramiError, match=r"audio/1-100032-A-0.wav is missing, and 1 more of 4 recordings"):
        open_dataset(below)


def test_the_official_split(tmp_path: Path) -> None:
    words = make(tmp_path / "words", *(f"data/{speaker:02}/{digit}_{speaker:02}_0.wav" for speaker in range(1, 61)
                                       for digit in range(10)))
    rest, test = open_dataset(words).split("official")
    assert rest.groups == [f"{speaker:02}" for speaker in range(1, 55)]
    assert (test.groups, len(test.clips)) == (["55", "56", "57", "58", "59", "60"], 60)
    assert open_dataset(words).shortfall == "600 of the 30000 clips of audiomnist are there."
    assert open_dataset(make_esc50(tmp_path / "esc")).split("official")[1].groups == ["5"]
    for speaker in ("56", "60"):
        shutil.rmtree(words / "data" / speaker)
    with pytest.raises(FramiError, match="and 56, 60 are not there") as raised:
        open_dataset(words).split("official")
    assert "github.com/soerenab" in raised.value.hint
    with pytest.raises(FramiError, match="no official split"):
        open_dataset(make(tmp_path / "own", "cat/a.wav", "dog/b.wav")).split("official")


def test_a_data_set_is_found_beside_others(tmp_path: Path) -> None:
    esc50 = make_esc50(tmp_path / "ESC-50-master")
    make(tmp_path, "fsdd/recordings/0_theo_0.wav")
    assert locate(tmp_path, "esc50") == locate(esc50, "esc50") == esc50
    assert locate(tmp_path, "esc10") == esc50
    assert locate(tmp_path, "fsdd") == tmp_path / "fsdd"
    with pytest.raises(FramiError, match="No labelled recordings of audiomnist"):
        locate(tmp_path, "audiomnist")


@pytest.mark.parametrize("row,message", [
    ("1-1-A-0.wav,one,0,dog,True,1,A", "row 6: no valid fold"),
    ("1-1-A-0.wav,1", "row 6: no valid target"),
    ("../../1-1-A-0.wav,1,0,dog,True,1,A", "row 6: no valid filename"),
])
def test_a_damaged_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    table = make_esc50(tmp_path) / "meta" / "esc50.csv"
    table.write_text(ESC50_CSV + row + "\n")
    with pytest.raises(FramiError, match=message):
        open_dataset(tmp_path)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_table_or_an_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, after: bool) -> None:
    folder = make_esc50(tmp_path_factory.getbasetemp() / "any")
    (folder / "meta" / "esc50.csv").write_bytes((ESC50_CSV.encode() if after else b"") + junk)
    try:
        clips = open_dataset(folder, "esc50").clips
    except FramiError:
        return
    assert all(clip.path.is_file() for clip in clips)


def test_the_spoken_digits(fsdd: Path) -> None:
    data = open_dataset(fsdd)
    assert (data.name, data.labels, len(data.clips)) == ("fsdd", tuple("0123456789"), 3000)
    rest, test = data.split("theo")
    assert (len(rest.clips), len(test.clips)) == (2500, 500)


def test_the_environmental_sounds(esc10: Path) -> None:
    data = open_dataset(esc10)
    assert (data.name, len(data.clips), data.groups) == ("esc10", 400, ["1", "2", "3", "4", "5"])
    assert (data.labels[0], data.labels[-1]) == ("Dog bark", "Fire crackling")
    assert len(data.split("5")[1].clips) == 80


def test_accents_of_macos_are_accents(tmp_path: Path) -> None:
    """There, a name's letters and their marks lie apart (NFD)."""
    apart, whole = (unicodedata.normalize(form, "vögel/blåvand") for form in ("NFD", "NFC"))
    make(tmp_path, f"{apart}/a.wav", "rain/other/b.wav")
    data = open_dataset(tmp_path).with_labels(["rain", whole.partition("/")[0]])
    assert [clip.label for clip in data.clips] == [0, 1] and len(data.split(apart.partition("/")[2])[1].clips) == 1


def test_audiomnist_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "AudioMNIST/data/01/9_01_0.wav", "AudioMNIST/backup/data/01/9_01_0.wav")
    assert locate(tmp_path, "audiomnist") == tmp_path / "AudioMNIST"
    assert len(open_dataset(tmp_path / "AudioMNIST", "audiomnist").clips) == 1
