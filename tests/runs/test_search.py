"""The command that searches: what it refuses."""

from argparse import Namespace

import pytest

pytest.importorskip("keras_tuner", reason="the extra `tuning` is not installed")

from keras_mtl.runs import search
from keras_mtl.tasks import nyud

pytestmark = pytest.mark.once("torch", "what is refused is so on every backend")


def test_searches_that_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tune_nyud.py"])
    (tmp_path / "results.json").write_text('{"depth_RMSE": 0.5}')
    (tmp_path / "broken.json").write_text("{")
    for given, problem in (
        ("--backbone vitnano", "--backbone: invalid choice: 'vitnano'"),
        ("--headline dept", "--headline dept is none of --tasks semseg depth normals edge; name"),
        ("--tasks dept", "task of your own (did you mean 'depth'?)"),
        ("--tasks depth nobody:has", "is not found"),
        ("--mixed-precision float64", "--mixed-precision: invalid choice: 'float64'"),
        ("--headline depth --tasks edge", "--headline depth is none of --tasks edge"),
        ("--balancing pcgrad", "--balancing: invalid choice: 'pcgrad'"),
        ("--trials 0", "--trials: '0' is no whole number"),
        (f"--single {tmp_path}/no.json", "no.json cannot be read"),
        (f"--single {tmp_path}/broken.json", "broken.json cannot be read"),
        (f"--single {tmp_path}/results.json", "results.json hold no semseg_mIoU; add"),
        (f"--data {tmp_path}/nowhere", "tune_nyud.py: No prepared dataset"),
        ("--image-size 50 64 --scenes 1 --held-out 1", "tune_nyud.py: "),
    ):
        with pytest.raises(SystemExit) as ended:
            search.main(nyud(), "", [*given.split(), "--output", str(tmp_path / "out")])
        printed = capsys.readouterr().err.strip().splitlines()
        said = printed[-1] if ended.value.code == 2 else str(ended.value)  # 2: argparse
        assert problem in said and "\n" not in said


def test_searches_are_not_mixed(tmp_path):
    first = Namespace(model="taskprompter", image_size=[48, 64], trials=6, output="a", verbose=1)
    search._settle(tmp_path, first, None)
    other = Namespace(**{**vars(first), "model": "tpanet"})
    search._settle(tmp_path, other, None)  # nothing was searched yet
    (tmp_path / "oracle.json").write_text("{}")
    more = Namespace(**{**vars(other), "trials": 9, "image_size": (48, 64)})
    search._settle(tmp_path, more, None)
    search._settle(tmp_path, Namespace(**vars(more), mixed_precision=None), None)  # a new option
    with pytest.raises(ValueError, match="model was tpanet and is taskprompter; pass another"):
        search._settle(tmp_path, first, None)
    with pytest.raises(ValueError, match="single was None and is {'depth': 0.5}"):
        search._settle(tmp_path, other, {"depth": 0.5})
    (tmp_path / "settings.json").write_text('{"model": "tp')
    with pytest.raises(ValueError, match="settings.json is no whole JSON, so nobody knows what"):
        search._settle(tmp_path, other, None)
