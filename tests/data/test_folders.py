"""Folders of images and labels that are prepared for training, and those that are not."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_mtl.data.label_files import read_label_file
from keras_mtl.pictures import read_photograph
from tests.data.stored import run_script

pytestmark = pytest.mark.once("torch", "preparing knows no backend")


def prepare(folder, *more):
    arguments = [folder / "mine", "--name", "mine", "--output", folder / "out", *more]
    run_script(*arguments)


def a_wide_png(folder):
    Image.fromarray(np.full((32, 48), 300, "uint16")).save(folder / "semseg" / "0.png")


def a_picture_of_depth(folder):
    (folder / "depth").mkdir()
    Image.fromarray(np.full((32, 48), 300, "uint16")).save(folder / "depth" / "0.png")


def masks_of_255(folder):
    (folder / "edge").mkdir()
    mask = np.repeat(np.array([0, 255], "uint8"), 24)[None].repeat(32, 0)
    Image.fromarray(mask).save(folder / "edge" / "0.png")


def a_label_that_is_not_turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 32)).save(folder / "images" / "0.png", exif=exif)


def nothing_but_no_label(folder):
    for path in (folder / "semseg").iterdir():
        Image.new("L", (48, 32), 255).save(path)


def two_of_one_name(folder):
    Image.new("RGB", (48, 32)).save(folder / "images" / "0.jpg")


def a_broken_image(folder):
    path = folder / "images" / "0.png"
    path.write_bytes(path.read_bytes()[:500])


def a_broken_label(folder):
    (folder / "semseg" / "0.png").write_bytes(b"no picture")


def labels_of_no_ending(folder):
    for path in (folder / "semseg").iterdir():
        path.rename(path.with_suffix(".mat"))


def labels_in_jpeg(folder):
    for path in (folder / "semseg").iterdir():
        path.write_bytes(b"")
        Image.new("L", (48, 32)).save(path, "JPEG")


def too_few_names(folder):
    Image.fromarray(np.full((32, 48), 2, "uint8")).save(folder / "semseg" / "0.png")
    (folder / "semseg" / "classes.txt").write_text("soil\nweed\n")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (labels_of_no_ending, "semseg holds no label file that is read: .*0.mat is none of .png"),
        (labels_in_jpeg, "semseg/0.png is a JPEG picture, which changes numbers; store .* PNG"),
        (too_few_names, "semseg/0.png: .* hold the value 2; .*classes.txt names 2 classes"),
        (a_wide_png, "semseg/0.png: .* the value 300;"),
        (
            a_picture_of_depth,
            "depth/0.png holds whole numbers, and no metres; say .* --depth-scale 1000",
        ),
        (masks_of_255, "edge holds the values 0 and 255 alone: .*; write 1 for yes"),
        (a_label_that_is_not_turned, r"semseg/0.png has shape \(32, 48\); expected \(48, 32, 1\)"),
        (nothing_but_no_label, "semseg says nothing: in all of its 2 labels every pixel is 255"),
        (two_of_one_name, "0.jpg and .*0.png have the same name; keep one"),
        (a_broken_image, "images/0.png cannot be read"),
        (a_broken_label, "semseg/0.png cannot be read"),
    ],
)
def test_folders_that_are_not_prepared(tmp_path, write_folder, spoil, problem):
    write_folder(tmp_path / "mine", 2, semseg=lambda: np.zeros((32, 48), "uint8"))
    spoil(tmp_path / "mine")
    with pytest.raises(SystemExit, match=problem) as ended:
        prepare(tmp_path)
    assert "\n" not in str(ended.value)
    assert not list(tmp_path.glob("out/*")) and not list(tmp_path.glob("out/.*"))


def test_preparing_a_folder_again(tmp_path, write_folder):
    write_folder(tmp_path / "mine", 3, semseg=lambda: np.zeros((32, 48), "uint8"))
    with pytest.raises(SystemExit, match="no.txt cannot be read"):
        prepare(tmp_path, "--val-list", tmp_path / "no.txt")
    prepare(tmp_path)
    (tmp_path / "mine/images/2.png").unlink()
    (tmp_path / "mine/semseg/2.png").unlink()
    with pytest.raises(SystemExit, match="out/mine/1.0.0 exists; pass --overwrite"):
        prepare(tmp_path)

    def stored():
        about = json.loads((tmp_path / "out/mine/1.0.0/dataset_info.json").read_text())
        return sum(int(n) for split in about["splits"] for n in split["shardLengths"])

    label = tmp_path / "mine/semseg/1.png"
    kept = label.read_bytes()
    label.write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="1.png cannot be read"):
        prepare(tmp_path, "--overwrite")
    assert stored() == 3
    label.write_bytes(kept)
    prepare(tmp_path, "--overwrite")
    assert stored() == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_pictures_that_exif_turns(tmp_path, write_folder, capsys):
    """Labels that EXIF turns are turned too; where the size tells nothing, a sentence does."""
    label = np.arange(9, dtype="uint8").reshape(3, 3)
    write_folder(tmp_path / "mine", 2, semseg=lambda: np.zeros((32, 48), "uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    for kind, stored in (("images", np.repeat(label[..., None], 3, -1)), ("semseg", label)):
        Image.fromarray(np.rot90(stored)).save(tmp_path / "mine" / kind / "0.png", exif=exif)
    prepare(tmp_path)
    assert "images: 1 are turned upright by EXIF, such as" in capsys.readouterr().out
    path = tmp_path / "mine" / "semseg" / "0.png"
    np.testing.assert_array_equal(read_label_file(path), label)
    np.testing.assert_array_equal(read_photograph(tmp_path / "mine/images/0.png")[..., 0], label)
