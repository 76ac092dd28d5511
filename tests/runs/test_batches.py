"""The batches of a run on generated scenes."""

import pytest

from keras_mtl.runs.batches import of_scenes
from keras_mtl.runs.options import parse
from keras_mtl.tasks import nyud

pytestmark = pytest.mark.once("tensorflow", "tf.data feeds every backend")


def test_rooms_are_kept_unless_not_wanted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = "--scenes 3 --held-out 2 --batch-size 2 --image-size 24 32 --from-scratch".split()
    tasks = nyud("depth")
    for given, kept in ((["--no-cache"], 0), ([], 2)):  # of two seeds
        batches = of_scenes(parse(tasks, "nyud", "", [*small, *given]), tasks, 0)
        images, labels = next(iter(batches.training))
        assert (images.shape, labels["depth"].shape) == ((2, 24, 32, 3), (2, 24, 32, 1))
        assert sum(1 for _ in tmp_path.rglob("*.npz")) == kept
