"""Names and lists of classes from files as people have them."""

import pytest

from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.class_lists import read_class_ids
from youtube8m_mod.formats.label_names import read_label_names

NAMES = {0: "Game", 1: "Concert, live", 2: 'The "show"', 3: "Café"}
LINES = 'Game\nConcert, live\nThe "show"\nCafé\n'
VOCABULARY = (
    "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1\n"
    "0,788288,/m/03bt1gh,Game,https://en.wikipedia.org/wiki/Game,Games\n"
    '1,4135,/m/01jddz,"Concert, live",https://x,"Arts, Music"\n'
    '2,5,/m/0,"The ""show""",,\n'
    "3,1,/m/1,Café,,Food\n"
)
TABLES = {
    "one a line": LINES,
    "vocabulary.csv": VOCABULARY,
    "other columns first": 'Name;Index\nCafé;3\n"The ""show""";2\nConcert, live;1\nGame;0\n',
    "AudioSet's": 'index,mid,display_name\n0,/m/0,Game\n1,/m/1,"Concert, live"\n2,/m/2,"The ""show"""\n3,/m/3,Café\n',
    "tabs": 'Index\tName\n0\tGame\n1\tConcert, live\n2\t"The ""show"""\n3\tCafé\n',
    "names alone": 'Name\nGame\n"Concert, live"\n"The ""show"""\nCafé\n',
    "blank lines at the end": LINES + "\n\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("kind", TABLES)
def test_names(tmp_path, kind, end, encoding):
    (tmp_path / "names").write_bytes(TABLES[kind].replace("\n", end).encode(encoding))
    assert read_label_names(f"{tmp_path}/names", 4) == NAMES


def test_names_of_some_classes(tmp_path):
    (tmp_path / "segments.csv").write_text("Index,KnowledgeGraphId,Name\n3,/m/01jddz,Concert\n7,/m/0k4j,Car\n")
    assert read_label_names(f"{tmp_path}/segments.csv", 10) == {3: "Concert", 7: "Car"}


@pytest.mark.parametrize(
    "text, message",
    [
        (LINES, "must hold 5 names, one for each class of the vocabulary, got 4"),
        (VOCABULARY, "must name the 5 classes of the vocabulary, got 4 names"),
        ("Index,Name\n0,Game\n5,Car\n", 'line 3: expected the number of a class of the vocabulary, got "5,Car"'),
        ("Index,Name\n0,Game\nx,Car\n", 'line 3: expected the number of a class of the vocabulary, got "x,Car"'),
        ("Index,Name\n0,Game\n0,Car\n", "line 3: class 0 has a name already"),
        ("Index,Name\n0,Game\n1\n", 'line 3: expected a name in the column "name", got none'),
        ("Gam\xe9\n", "is not UTF-8 text"),
        pytest.param("Index,Name\n0," + 200_000 * "x", "line 2, is no line of a table: field larger", id="no end"),
    ],
)
def test_names_that_are_refused(tmp_path, text, message):
    (tmp_path / "names").write_bytes(text.encode("latin-1" if "\xe9\n" == text[-2:] and len(text) < 9 else "utf-8"))
    with pytest.raises(UserError, match=f"names.*{message}"):
        read_label_names(f"{tmp_path}/names", 5)


@pytest.mark.parametrize(
    "text",
    [
        "Index\n3\n7\n",
        "3\n7\n",
        "\ufeffIndex\r\n3\r\n7\r\n",
        '"Index"\n"7"\n"3"\n\n',
        "Index,Name\n7,Car\n3,Concert\n",
        "Name;Index\nCar;7\nConcert;3\n",
    ],
)
def test_class_lists(tmp_path, text):
    (tmp_path / "ids.csv").write_text(text, encoding="utf-8", newline="")
    assert read_class_ids(f"{tmp_path}/ids.csv", 10) == [3, 7]


@pytest.mark.parametrize(
    "text, message",
    [
        ("Index\n10\n", "line 2: expected a class from 0 to 9"),
        ("Index\n", "no class"),
        pytest.param("Index\n" + 200_000 * "7", "ids.csv, line 2, is no line of a table: field larger", id="no end"),
    ],
)
def test_class_lists_that_are_refused(tmp_path, text, message):
    (tmp_path / "ids.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_class_ids(f"{tmp_path}/ids.csv", 10)


def test_lists_that_a_spreadsheet_cut_off(tmp_path):
    from youtube8m_mod.formats.submission import read_submission

    ids = " ".join(f"v{number:05d}:{5 * (number % 9)}" for number in range(5000))
    path = tmp_path / "submission.csv"
    path.write_text(f"Class,Segments\n0,a:0\n1,{ids[:32_767]}\n2,{ids[:32_767]}\n")
    with pytest.raises(
        UserError, match="submission.csv, line 3: the list ends after 32,767 characters, where spreadsheets"
    ):
        list(read_submission(str(path)))
    path.write_text(f"Class,Segments\n0,{ids}\n1,{ids[:32_767]}\n")
    assert len(list(read_submission(str(path)))) == 3
