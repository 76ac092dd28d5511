import os
import time
from pathlib import Path

import numpy as np
import pytest

from keras_mtl import rooms, tasks
from keras_mtl.rooms import cores, kept

pytestmark = pytest.mark.once("torch", "rooms are made of NumPy arrays")

SIZE = (6, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "keras_mtl" / "rooms"


def same(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert np.asarray(found[key]).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(found[key], value)


def test_programs_beside_this_one_render_the_same(cache):
    found = list(cores.scenes(7, SIZE, 26, keep=False, programs=2))
    assert len(found) == 26
    for index in (0, 24, 25):
        same(found[index], rooms.render(7, SIZE, index))
    assert not list(cache.rglob("*.npz"))


def test_programs_are_for_many_scenes():
    assert cores._worth(SIZE, 100) == 0
    assert cores._worth((480, 640), 10**5) in (0, len(os.sched_getaffinity(0)))


def test_scenes_are_kept_read_and_damaged_ones_rendered_again(cache):
    task = tasks.nyud("depth", "semseg")
    first = rooms.arrays(task, 26, SIZE, seed=3, keep=True)
    (folder,) = cache.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["0-24.npz", "25-25.npz"]
    file = folder / "25-25.npz"
    kept.write(file, 9, SIZE, range(1))
    images, _ = rooms.arrays(task, 26, SIZE, seed=3, keep=True)
    np.testing.assert_array_equal(images[25], rooms.render(9, SIZE)["image"])  # it was read
    data = bytearray(file.read_bytes())
    for harm in (data[: len(data) // 2], data[:700] + b"xxxx" + data[704:], b""):
        file.write_bytes(harm)
        again = rooms.arrays(task, 26, SIZE, seed=3, keep=True)
        np.testing.assert_array_equal(again[0], first[0])
        for name, label in first[1].items():
            np.testing.assert_array_equal(again[1][name], label)
        same(kept.read(file, SIZE, range(25, 26))[0], rooms.render(3, SIZE, 25))
    assert kept.read(file, (8, 6), range(25, 26)) is None  # of another size


def test_where_nothing_can_be_kept_rooms_are_rendered(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    images, _ = rooms.arrays(tasks.nyud("depth"), 2, SIZE, keep=True)
    np.testing.assert_array_equal(images[1], rooms.render(0, SIZE, 1)["image"])


def test_a_program_ends_with_the_one_that_started_it(tmp_path):
    folder = tmp_path / "blocks"
    folder.mkdir()
    with cores._Worker(folder, 0, SIZE, [range(k, k + 1) for k in range(100000)], True) as worker:
        wanted = kept.path_of(folder, range(0, 1))
        worker.wait_for(range(0, 1), wanted)
        assert wanted.exists()
        worker.process.stdin.close()  # as if this process were gone
        assert worker.process.wait(timeout=60) == 1
        start = time.monotonic()
        worker.wait_for(range(99999, 100000), Path(os.devnull) / "never")
        assert time.monotonic() - start < 5
