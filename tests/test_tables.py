"""Tables in Markdown, read back by a plain parser of GitHub's rules."""

import re

import pytest

from keras_mtl.tables import markdown

pytestmark = pytest.mark.once("torch", "tables know no backend")

ROWS = [["task", "score [%] ↑", ""], ["semseg", 55.25, "a"], ["Δm", "-1", "b"]]


def parsed(text):
    """Cells by row; a "|" splits cells unless a backslash stands before it."""
    lines = text.split("\n")
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert all(re.fullmatch(" --+:? ", ruler) for ruler in rows.pop(1))
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_cells(numbers, padded):
    text = markdown(ROWS, numbers, padded)
    assert parsed(text) == [
        ["task", "score [%] ↑", ""],
        ["semseg", "55.25", "a"],
        ["Δm", "-1", "b"],
    ]
    assert (len({len(line) for line in text.split("\n")}) == 1) == padded
    assert ("--: |" in text) == numbers


def test_letter_by_letter():
    assert markdown(ROWS) == (
        "| task   | score [%] ↑ |     |\n"
        "| ------ | ----------- | --- |\n"
        "| semseg | 55.25       | a   |\n"
        "| Δm     | -1          | b   |"
    )
    assert markdown(ROWS, numbers=True) == (
        "| task   | score [%] ↑ |     |\n"
        "| ------ | ----------: | --: |\n"
        "| semseg |       55.25 |   a |\n"
        "| Δm     |          -1 |   b |"
    )
    assert markdown(ROWS, numbers=True, padded=False) == (
        "| task | score [%] ↑ |  |\n| --- | ---: | ---: |\n| semseg | 55.25 | a |\n| Δm | -1 | b |"
    )


@pytest.mark.parametrize("padded", [False, True])
def test_what_would_end_a_cell(padded):
    text = markdown([["name"], ["a|b||c"], ["two\nlines\r\nor three"]], padded=padded)
    assert parsed(text) == [["name"], ["a|b||c"], ["two lines or three"]]


def test_rows_are_left_as_they_are():
    rows = [["task"], ["a|b"]]
    markdown(rows)
    assert rows == [["task"], ["a|b"]]


def test_only_a_head():
    assert parsed(markdown([["task", "score"]])) == [["task", "score"]]


def test_what_is_no_table():
    with pytest.raises(ValueError, match=r"row \['depth'\] has 1 cells, but its head has 3"):
        markdown([*ROWS, ["depth"]])
    with pytest.raises(ValueError, match="no rows; expected a head"):
        markdown([])
