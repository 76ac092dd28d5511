"""What is written is there as a whole or not at all, whatever happens in between."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_mtl import files

pytestmark = pytest.mark.once("torch", "files know no backend")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def make(fresh, text):
    (fresh / "inner").mkdir(parents=True)
    (fresh / "inner/file.txt").write_text(text)


# === Files ===


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_gets_its_name_when_it_is_whole(tmp_path, durable):
    path = tmp_path / "scores.json"
    path.write_text("old")
    with files.whole(path, durable) as fresh:
        assert fresh.suffix == ".json" and fresh.parent != tmp_path
        fresh.write_bytes(b"n")
        assert path.read_text() == "old"
        fresh.write_bytes(b"new")
    assert path.read_text() == "new" and names(tmp_path) == ["scores.json"]


def test_a_file_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with files.whole("scores.txt") as fresh:
        monkeypatch.chdir("elsewhere")
        fresh.write_text("new")
        monkeypatch.chdir("..")
    assert Path("scores.txt").read_text() == "new" and names(tmp_path / "elsewhere") == []


def test_text_and_its_folder(tmp_path):
    path = tmp_path / "a/b/table.md"
    files.write_text(path, "Δm\r\n\n")
    assert path.read_bytes() == "Δm\r\n\n".encode() and names(path.parent) == ["table.md"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_something_raises(tmp_path, error):
    path, folder = tmp_path / "file", tmp_path / "folder"
    path.write_text("old")
    make(folder, "old")
    with pytest.raises(error), files.whole(path) as fresh:
        fresh.write_text("new")
        raise error
    with pytest.raises(error), files.whole_folder(folder, replace=True) as fresh:
        make(fresh, "new")
        raise error
    with pytest.raises(error), files.set_aside(folder):
        assert not folder.exists()
        raise error
    assert path.read_text() == (folder / "inner/file.txt").read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]


def test_rights_are_what_the_umask_says(tmp_path, umask):
    with files.whole(tmp_path / "file") as fresh:
        fresh.write_text("new")
    with files.whole_folder(tmp_path / "folder") as fresh:
        make(fresh, "new")

    def rights(name):
        return (tmp_path / name).stat().st_mode & 0o777

    assert [rights(name) for name in ("file", "folder", "folder/inner/file.txt")] == [
        0o644, 0o755, 0o644
    ]  # fmt: skip


def test_links_are_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    make(outside, "theirs")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside / "inner/file.txt")
    (inside / "folder").symlink_to(outside)
    (inside / ".saving-x").symlink_to(outside)
    with files.whole(inside / "file") as fresh:
        fresh.write_text("mine")
    with files.whole_folder(inside / "folder", replace=True) as fresh:
        make(fresh, "mine")
        (fresh / "link").symlink_to(outside)
    with files.whole_folder(inside / "folder", replace=True) as fresh:
        make(fresh, "mine, too")
    files.sweep(inside)
    assert (outside / "inner/file.txt").read_text() == "theirs"
    assert (inside / "file").read_text() == "mine" and names(inside) == ["file", "folder"]
    assert not any(path.is_symlink() for path in inside.iterdir())


def test_what_is_refused(tmp_path):
    there = tmp_path / "there"
    make(there, "old")
    (tmp_path / "file").write_text("old")
    (tmp_path / "dangling").symlink_to("nowhere")

    def folder(path, replace):
        with files.whole_folder(path, replace):
            raise AssertionError("found out before the work")

    def file(path):
        with files.whole(path):
            raise AssertionError("found out before the work")

    for write, said in [
        (lambda: folder(there, False), "there cannot be written (File exists)."),
        (lambda: folder(tmp_path / "file", True), "file cannot be written (Not a directory)."),
        (lambda: folder(tmp_path / "no/folder", True), "(there is no folder "),
        (lambda: file(there), "there cannot be written (Is a directory)."),
        (lambda: file(tmp_path / "no/file.txt"), "(there is no folder "),
        (lambda: files.write_text(tmp_path / "file/a/b", ""), f"({tmp_path}/file is a file)."),
        (lambda: files.make_folder(tmp_path / "dangling/a"), "dangling is a link that leads nowh"),
        (lambda: files.alone(tmp_path / "file").__enter__(), f"({tmp_path}/file is a file)."),
    ]:
        with pytest.raises(files.NotWritten, match=re.escape(said)) as error:
            write()
        assert isinstance(error.value, OSError) and error.value.errno and "\n" not in str(error)
    assert names(tmp_path) == ["dangling", "file", "there"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(files.NotWritten, match=r"file cannot be written \(Permission denied\)\."):
        files.write_text(tmp_path / "file", "new")
    tmp_path.chmod(0o755)


def test_a_full_disk(tmp_path, small_disk):
    path, folder = tmp_path / "file", tmp_path / "folder"
    path.write_text("old")
    make(folder, "old")
    with pytest.raises(files.NotWritten) as error:
        files.write_text(path, "new" * 1000)
    assert str(error.value) == f"{path} cannot be written (File too large)."
    with pytest.raises(files.NotWritten) as error:
        with files.whole_folder(folder, replace=True) as fresh:
            make(fresh, "new" * 1000)
    assert str(error.value) == f"{folder} cannot be written (File too large)."
    assert error.value.strerror == "File too large"  # for a sentence of the caller's own
    assert path.read_text() == (folder / "inner/file.txt").read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]


def test_the_second_renaming_of_a_folder_fails(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    make(folder, "old")
    renamed = os.replace

    def replace(source, target):
        if Path(target) == folder and Path(source).parent.name.startswith(".saving-"):
            raise OSError(28, "No space left on device")
        renamed(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(files.NotWritten, match="No space left"):
        with files.whole_folder(folder, replace=True) as fresh:
            make(fresh, "new")
    assert (folder / "inner/file.txt").read_text() == "old" and names(tmp_path) == ["folder"]


def test_what_tensorflow_says_of_a_disk(tmp_path):
    class OfTensorFlow(Exception):
        error_code = 8

    for error, said in (
        (OfTensorFlow("{{node}} No space left on device\n[Op:Save]"), "No space left on device"),
        (RuntimeError("the dataset was not stored"), "Permission denied"),
    ):
        error.__cause__ = PermissionError(13, said) if said[0] == "P" else None
        with pytest.raises(files.NotWritten) as found, files.whole(tmp_path / "file"):
            raise error
        assert str(found.value) == f"{tmp_path / 'file'} cannot be written ({said})."
    with pytest.raises(RuntimeError, match="no device"), files.whole(tmp_path / "file"):
        raise RuntimeError("no device")
    assert not names(tmp_path)


def test_errors_of_other_files_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="photograph.png"):
        with files.whole(tmp_path / "file"):
            open(tmp_path / "photograph.png")
    assert names(tmp_path) == []


# === Killed ===

KILLED = """
import os, signal, sys
from pathlib import Path

sys.path.append(sys.argv[3])
import files  # without the package, which takes seconds

folder, moment = Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
rename = os.replace
count = 0

def replace(source, target):
    global count
    if moment == f"before renaming {count}":
        die()
    rename(source, target)
    count += 1

os.replace = replace
if moment == "writing a file":
    with files.whole(folder / "file", durable=True) as fresh:
        fresh.write_text("ne")
        die()
with files.whole_folder(folder / "folder", replace=True) as fresh:
    (fresh / "inner").mkdir(parents=True)
    if moment == "making a folder":
        die()
    (fresh / "inner/file.txt").write_text("new")
"""


@pytest.mark.parametrize(
    "moment", ["writing a file", "making a folder", "before renaming 0", "before renaming 1"]
)
def test_a_process_that_is_killed(tmp_path, moment):
    path, folder = tmp_path / "file", tmp_path / "folder"
    path.write_text("old")
    make(folder, "old")
    place = str(Path(files.__file__).parent)
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment, place]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    if moment == "before renaming 1":
        assert ".replaced-folder" in names(tmp_path) and not folder.exists()
    files.put_back(folder)
    assert path.read_text() == (folder / "inner/file.txt").read_text() == "old"
    assert len(names(tmp_path)) == 3 and names(tmp_path)[0].startswith(".saving-")
    with files.whole_folder(folder, replace=True) as fresh:
        make(fresh, "new")
        files.sweep(tmp_path)  # leaves what is being written
        assert len(names(tmp_path)) == 3
    assert names(tmp_path) == ["file", "folder"]
    assert (folder / "inner/file.txt").read_text() == "new"


def test_a_folder_that_was_set_aside_is_put_back_before_another_is_made(tmp_path):
    folder = tmp_path / "folder"
    make(tmp_path / ".replaced-folder", "old")
    with pytest.raises(files.NotWritten, match="File exists"), files.whole_folder(folder):
        pass
    assert names(tmp_path) == ["folder"]
    make(tmp_path / ".replaced-folder", "older")  # killed before it was removed
    with files.whole_folder(folder, replace=True) as fresh:
        make(fresh, "new")
    assert (folder / "inner/file.txt").read_text() == "new" and names(tmp_path) == ["folder"]


# === Two at the same time ===


def test_two_writers_do_not_mix(tmp_path):
    path, folder = tmp_path / "file", tmp_path / "folder"
    with files.whole(path) as mine, files.whole(path) as theirs:
        assert mine != theirs
        mine.write_text("mine")
        theirs.write_text("theirs")
    assert path.read_text() == "mine"  # which was through last
    with pytest.raises(files.NotWritten, match="not empty"):
        with files.whole_folder(folder) as mine:
            make(mine, "mine")
            with files.whole_folder(folder) as theirs:
                make(theirs, "theirs")
    assert (folder / "inner/file.txt").read_text() == "theirs"
    with files.whole_folder(folder, replace=True) as mine:
        make(mine, "mine")
        with files.whole_folder(folder, replace=True) as theirs:
            make(theirs, "theirs")
    assert (folder / "inner/file.txt").read_text() == "mine"
    assert names(tmp_path) == ["file", "folder"]


HOLDER = """
import sys
sys.path.append(sys.argv[2])
import files

with files.alone(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_one_process_in_a_folder(tmp_path):
    """Until it ends, however it ends; itself may ask again."""
    folder = tmp_path / "runs/mine"
    command = [sys.executable, "-c", HOLDER, str(folder), str(Path(files.__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        said = f"{folder} cannot be written (another process writes there now; wait for it or name"
        with pytest.raises(files.NotWritten, match=re.escape(said)), files.alone(folder):
            pass
        other.kill()
    (folder / ".saving-left").mkdir()
    with files.alone(folder), files.alone(folder):
        pass
    assert names(folder) == []  # the killed one made it
    with files.alone(tmp_path / "new"), files.alone(tmp_path / "new"):
        assert names(tmp_path) == ["new", "runs"]
    assert names(tmp_path) == ["runs"]
