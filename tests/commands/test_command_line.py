"""How the commands refuse."""

import argparse

import pytest

from keras_mtl.commands.command_line import refusals, say, whole_number

pytestmark = pytest.mark.once("torch", "a command line knows no backend")


def test_a_refusal_is_a_sentence_of_the_script(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/some/where/train.py"])
    with pytest.raises(SystemExit) as ended, refusals(advice=" (Or not.)"):
        raise ValueError("No.")
    assert ended.value.code == "train.py: No. (Or not.)"
    say("Broken.")
    assert capsys.readouterr().err == "train.py: Broken.\n"


def test_other_errors_are_no_refusals():
    with pytest.raises(KeyError), refusals():
        raise KeyError("a mistake of ours")
    with pytest.raises(ValueError), refusals(OSError):
        raise ValueError("not expected here")


@pytest.mark.parametrize(("text", "least"), [("0", 1), ("-1", 0), ("2.5", 1), ("two", 1)])
def test_whole_numbers(text, least):
    assert whole_number(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is no whole number of {least}"):
        whole_number(least)(text)
