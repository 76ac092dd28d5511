"""What a run says at its beginning."""

import pytest

import keras_mtl
from keras_mtl.runs.options import parse
from keras_mtl.runs.prospect import SayHowLong, plan

pytestmark = pytest.mark.once("torch", "what is said is the same on every backend")


def test_the_plan_of_a_run():
    tasks = keras_mtl.tasks.nyud("depth", "edge")
    said = plan(parse(tasks, "nyud", "", ["--from-scratch", "--scenes", "1200"]), tasks)
    assert "renders 1,200 rooms to train on and 100 to test on" in said
    assert "trains depth, edge for 4,000 steps of 4 images of 48x64 from random weights" in said
    given = ["--data", "my_rooms", "--pretrained", "my_vit", "--steps", "3", "--epochs", "9"]
    said = plan(parse(tasks, "nyud", "", given), tasks)
    assert "reads my_rooms" in said and "from the weights of my_vit" in said
    assert "after each of 3 epochs" in said


@pytest.mark.parametrize(
    ("steps", "ahead"), [(3, None), (103, "about 3 minutes"), (8003, "about 4.4 hours")]
)
def test_how_long_it_takes(monkeypatch, capsys, steps, ahead):
    """After two timed steps of two seconds each, the first not counted."""
    clock = iter([100.0, 104.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    say = SayHowLong(steps, timed=2)
    for batch in range(4):
        say.on_train_batch_end(batch)
    expected = f"\nTraining will take {ahead}, and validation some more\n" if ahead else ""
    assert capsys.readouterr().out == expected
