"""Prepared datasets lie inside their folder, and are whole."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock

from keras_mtl.data import folders
from tests.data.stored import SCRIPT, run_script

pytestmark = pytest.mark.once("torch", "preparing knows no backend")


def prepare(folder, *more):
    arguments = [folder / "mine", "--name", "mine", "--output", folder / "out", *more]
    run_script(*arguments)


@pytest.fixture
def mine(tmp_path, write_folder):
    write_folder(tmp_path / "mine", 3, semseg=lambda: np.zeros((32, 48), "uint8"))
    return tmp_path


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_places_and_shares_that_are_refused(mine):
    (mine / "file").write_text("mine")
    (mine / "link").symlink_to("nowhere")
    before = everything(mine)
    for option, value, problem in (
        *(("--name", name, "The name is") for name in ("../x", "/x", "a/b", "", ".", "..", ".x")),
        *(("--version", version, "The version is") for version in ("1", "../1.0.0", "1.0.0/..")),
        *(("--val-share", share, "val_share is") for share in ("-1", "1.5", "nan")),
        ("--output", mine / "file", "file is a file)."),
        ("--output", mine / "file/x", "file is a file)."),
        ("--output", mine / "link", "link is a link that leads nowhere)."),
    ):
        with pytest.raises(SystemExit) as ended:
            prepare(mine, f"{option}={value}")
        assert problem in str(ended.value) and "\n" not in str(ended.value)
    assert everything(mine) == before


def test_a_full_disk(mine, small_disk):
    before = everything(mine)
    with pytest.raises(SystemExit, match=r"out/mine/1.0.0 cannot be written \(File too large\).$"):
        prepare(mine)
    assert everything(mine) == sorted([*before, "out"])  # an empty folder


def test_stopped_and_held_by_another(mine, monkeypatch):
    prepare(mine)
    before, read = everything(mine), folders.to_store

    def stop(path):
        if path.stem == "2":
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(folders, "to_store", stop)
    for more in (("--overwrite",), ("--version", "1.0.1")):
        with pytest.raises(KeyboardInterrupt):
            prepare(mine, *more)
        assert everything(mine) == before
    with FileLock(mine / "out/mine/.lock"):  # as another process has it
        with pytest.raises(SystemExit, match="another process writes there now; wait"):
            prepare(mine, "--overwrite")


KILLED = f"""
import os, runpy, signal
from keras_mtl.data import folders

read = folders.to_store

def to_store(path):
    if path.stem == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path)

folders.to_store = to_store
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


def test_killed_and_started_again(mine):
    arguments = [mine / "mine", "--name", "mine", "--output", mine / "out"]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    left = [path.name for path in (mine / "out/mine").iterdir()]
    assert any(name.startswith(".saving-") for name in left) and "1.0.0" not in left
    prepare(mine)
    assert [path.name for path in (mine / "out/mine").iterdir()] == ["1.0.0"]
