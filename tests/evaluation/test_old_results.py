"""Results that an earlier version wrote are read, and say the same."""

from pathlib import Path

import pytest

from keras_mtl.evaluation import Evaluation, comparison
from keras_mtl.evaluation.compare import main

pytestmark = pytest.mark.once("torch", "results and their tables know no backend")

OLD = Path(__file__).parents[1] / "golden" / "old"


def test_an_old_result_says_the_same():
    result = Evaluation.load(OLD / "evaluation.json")
    assert f"{result}\n" == (OLD / "evaluation.md").read_text()
    assert comparison([result]).markdown() + "\n" == (OLD / "comparison.md").read_text()


def test_the_command_compares_it(capsys):
    assert main([str(OLD / "evaluation.json")]) == 0
    assert capsys.readouterr().out == (OLD / "comparison.md").read_text()
