"""A run that was killed goes on from the counts on the disk."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf import kept, processes
from keras_mtl.metrics.odsf.files import BrokenFile
from keras_mtl.metrics.odsf.folder import evaluate_folder
from keras_mtl.metrics.odsf.image import Counts, evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores

pytestmark = pytest.mark.once("torch", "needs no backend")


@pytest.mark.parametrize("how", ["killed", "fault"])
def test_a_run_goes_on(folders, command, scene, how, monkeypatch):
    """Images that are done are not done again, unless their files have changed."""
    partial = folders / "scores.json.partial.npz"
    evaluate, done = processes.evaluate_files, []

    def interrupted(prediction, label, protocol):
        if len(done) == 2:
            raise KeyboardInterrupt if how == "killed" else BrokenFile("It is broken.")
        done.append(prediction.stem)
        return evaluate(prediction, label, protocol)

    monkeypatch.setattr(processes, "evaluate_files", interrupted)
    arguments = (folders / "predictions", folders / "labels", "nyud")
    with pytest.raises(KeyboardInterrupt if how == "killed" else BrokenFile):
        evaluate_folder(*arguments, partial=partial, progress=False)
    assert partial.is_file() and done == ["0", "1"]

    def counted(*files):
        done.append(files[0].stem)
        return evaluate(*files)

    monkeypatch.setattr(processes, "evaluate_files", counted)
    prediction, label = scene(1)
    Image.fromarray(255 - prediction).save(folders / "predictions" / "1.png")
    done.clear()
    scores = BoundaryScores()
    for each in (scene(0), (255 - prediction, label), scene(2)):
        scores.add(evaluate_image(*each))
    assert command(folders, "--json", folders / "scores.json") == 0
    assert done == ["1", "2"] and not partial.exists()
    assert json.loads((folders / "scores.json").read_text())["odsF"] == scores.odsF


@pytest.mark.parametrize("kind", ["another run", "damaged"])
def test_a_partial_file_that_is_of_no_use(folders, command, expected, kind):
    partial = folders / "scores.json.partial.npz"
    if kind == "damaged":
        partial.write_bytes(b"PK\x03\x04 cut short")
    else:
        counts = kept.Kept(partial, "pascal", folders / "predictions", folders / "labels")
        nothing = Counts(np.zeros(101, int), np.zeros(101, int), 1)
        counts.put("0", [1, 2, 3, 4], nothing)
        counts.save()
    assert command(folders, "--json", folders / "scores.json") == 0
    report = json.loads((folders / "scores.json").read_text())
    assert report["odsF"] == expected(range(3)).odsF


def test_counts_are_saved_on_the_way(folders, monkeypatch):
    """A process killed outright cannot save at its end."""
    monkeypatch.setattr(kept, "_SAVE_EVERY", -1.0)
    partial, evaluate, seen = folders / "partial.npz", processes.evaluate_files, []

    def watched(*files):
        seen.append(partial.is_file())
        return evaluate(*files)

    monkeypatch.setattr(processes, "evaluate_files", watched)
    arguments = (folders / "predictions", folders / "labels", "nyud")
    evaluate_folder(*arguments, partial=partial, progress=False)
    assert seen == [False, True, True]
