"""Cityscapes with boxes in space: streets in its layout are read back, and faults are named."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_mtl.boxes3d.labels import in_vehicle_frame, sensor_of
from keras_mtl.data.archives import cityscapes_3d
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.streets import write_cityscapes_3d
from keras_mtl.data.archives.verify import main, verify
from keras_mtl.rooms import streets
from keras_mtl.tasks import DATASETS

pytestmark = pytest.mark.once("torch", "needs no backend")

SIZE, SEED = (32, 64), 5
FIRST = "train/streets/streets_000000_000000"
BOXES, CAMERA = f"gtBbox3d/{FIRST}_gtBbox3d.json", f"camera/{FIRST}_camera.json"
SEMSEG, DISPARITY = f"gtFine/{FIRST}_gtFine_labelIds.png", f"disparity/{FIRST}_disparity.png"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "cityscapes"
    return write_cityscapes_3d(path, train=2, val=1, image_size=SIZE, seed=SEED)


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "cityscapes")


def zipped(root, folder):
    """The archive as it is published: a zip a folder."""
    folder.mkdir()
    for top in cityscapes_3d.LAYOUT.tops:
        with zipfile.ZipFile(folder / f"{top}_trainvaltest.zip", "w") as archive:
            for path in sorted((root / top).rglob("*.*")):
                archive.write(path, path.relative_to(root))
            archive.writestr("README", "")
    return folder


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def test_streets_come_back(sound, tmp_path):
    packed = zipped(sound, tmp_path / "zips")
    number = 0
    for split, count in (("train", 2), ("val", 1)):
        ids = cityscapes_3d.image_ids(sound, split)
        assert ids == cityscapes_3d.image_ids(packed, split) and len(ids) == count
        for image_id in ids:
            scene = streets.render(SEED, SIZE, number)
            number += 1
            for root in (sound, packed):
                found = cityscapes_3d.read(root, image_id)
                np.testing.assert_array_equal(found["image"], scene["image"])
                np.testing.assert_array_equal(found["semseg"], scene["cityscapes_semseg"])
                disparity, depth = scene["disparity"][..., 0], scene["depth"][..., 0]
                wanted = np.where(disparity > 0, disparity, -1)
                np.testing.assert_allclose(found["disparity"], wanted, atol=1 / 500)
                near = (depth > 0) & (depth < 20)
                assert near.any()
                np.testing.assert_allclose(found["depth"][near], depth[near], rtol=5e-3)
                assert (found["depth"][depth == 0] == 0).all()
                label, boxes = found["detection3d"], scene["boxes"]
                count = len(boxes)
                np.testing.assert_array_equal(label["classes"][:count], boxes.label)
                assert (label["classes"][count:] == -1).all()
                centers, turned = in_vehicle_frame(
                    sensor_of(label), label["places"][:count], label["rotations"][:count]
                )
                np.testing.assert_allclose(centers, boxes.center, atol=1e-4)
                same = np.abs((turned * boxes.rotation).sum(1))  # up to the sign
                np.testing.assert_allclose(same, 1, atol=1e-6)
                np.testing.assert_allclose(label["boxes"][:count], boxes.modal)
                np.testing.assert_allclose(
                    label["ignored"][: len(scene["ignore"])], scene["ignore"], rtol=1e-5
                )
                assert cityscapes_3d.name_of(image_id) == f"streets_000000_{number - 1:06d}"


def test_the_archive_holds_what_the_table_of_its_dataset_says():
    dataset = DATASETS["cityscapes_3d"]
    assert cityscapes_3d.LAYOUT.name == dataset.archive
    assert set(cityscapes_3d.TASKS) == {t.name for t in (*dataset.tasks(), *dataset.make_others())}
    assert cityscapes_3d.SPLITS["val"] == dataset.images


def test_label_rules():
    """Rail tracks are no sky: neither has a class of its own, and both keep their disparity."""
    ids = np.arange(34, dtype=np.uint8)[None]
    found = cityscapes_3d.decode("semseg", as_png(ids), "x")[0]
    wanted = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 23: 10, 28: 15, 31: 16, 33: 18}
    assert all(found[i] == c for i, c in wanted.items())
    assert set(np.flatnonzero(found == 255)) == {*range(7), 9, 10, 14, 15, 16, 18, 29, 30}
    stored = np.array([[0, 1, 2, 257, 65535]], np.uint16)
    found = cityscapes_3d.decode("disparity", as_png(stored), "x")
    np.testing.assert_array_equal(found, [[-1, -1, 1 / 256, 1, 65534 / 256]])
    depth = cityscapes_3d.metres(found, cityscapes_3d.Stereo(0.2, 1000.0))
    np.testing.assert_allclose(depth[0, [0, 1, 3]], [0, 0, 200])


def test_sound_copies(sound, tmp_path, capsys):
    assert main(["cityscapes_3d", str(sound)]) == 0
    out = capsys.readouterr().out
    assert "semseg, disparity, depth, detection3d" in out and "The archive is sound." in out
    assert "leftImg8bit/train has 2 images, the public copy's 2975." in out
    report = verify(zipped(sound, tmp_path / "zips"), "cityscapes_3d", progress=False)
    assert report.ok and report.splits["train"].sound == 2
    shutil.rmtree(shutil.copytree(sound, tmp_path / "c") / "camera")
    report = verify(tmp_path / "c", "cityscapes_3d", progress=False)
    assert report.ok and report.tasks == ["semseg", "disparity", "detection3d"]
    assert report.notes[0] == "Task depth cannot be prepared: this copy lacks camera."
    assert cityscapes_3d.lacking(tmp_path / "c") == ["depth"]


def rewrite(**changes):
    """A JSON file with other values at its top, or without (None)."""

    def change(path):
        content = {**json.loads(path.read_bytes()), **changes}
        kept = {name: value for name, value in content.items() if value is not None}
        path.write_text(json.dumps(kept))

    return change


def write(data):
    return lambda path: path.write_bytes(data)


def remove(path):
    path.unlink()


FAULTS = [
    (BOXES, rewrite(sensor=None), "has no sensor"),
    (BOXES, rewrite(objects=[{"label": "spaceship"}]), "unknown class 'spaceship'"),
    (BOXES, rewrite(imgWidth=2048), f"is {SIZE[0]}x2048 pixels"),
    (BOXES, write(b"{"), "is not readable as JSON"),
    (CAMERA, remove, "is missing"),
    (CAMERA, write(b"[]"), "is not readable"),
    (CAMERA, rewrite(extrinsic={}), "it has no 'baseline'"),
    (CAMERA, rewrite(extrinsic={"baseline": 0}), "has the extrinsic.baseline 0"),
    (CAMERA, rewrite(intrinsic={"fx": float("nan")}), "has the intrinsic.fx nan"),
    (DISPARITY, write(as_png(np.zeros(SIZE, np.uint8))), "has mode L"),
    (DISPARITY, write(as_png(np.zeros((8, 8), np.uint16))), "is 8x8 pixels"),
    (DISPARITY, write(b"no png"), "is not readable"),
    (SEMSEG, write(as_png(np.full(SIZE, 40, np.uint8))), "holds the value 40"),
    (SEMSEG, remove, "is missing"),
    (f"leftImg8bit/{FIRST}_leftImg8bit.png", remove, "is missing"),
]


@pytest.mark.parametrize(("file", "break_it", "problem"), FAULTS)
def test_one_fault(copy, file, break_it, problem):
    break_it(copy / file)
    (fault,) = verify(copy, "cityscapes_3d", progress=False).faults
    assert fault.file == file and fault.problem.startswith(f"{file} ") and problem in fault.problem
    assert "\n" not in fault.problem and fault.problem.endswith(".")
    with pytest.raises(ArchiveError, match=file.rpartition("/")[2]):
        cityscapes_3d.read(copy, FIRST)


def test_broken_zips(sound, tmp_path):
    folder = zipped(sound, tmp_path / "zips")
    path = folder / "gtFine_trainvaltest.zip"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255  # inside a member
    path.write_bytes(data)
    report = verify(folder, "cityscapes_3d", progress=False)
    assert report.faults and all(f.file.startswith("gtFine/") for f in report.faults)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ArchiveError, match="gtFine_trainvaltest.zip is not readable as a zip"):
        verify(folder, "cityscapes_3d", progress=False)


def test_what_is_no_copy(tmp_path):
    with pytest.raises(ArchiveError, match="has none of the folders of cityscapes"):
        verify(tmp_path, "cityscapes_3d", progress=False)
    (tmp_path / "cityscapes.tar.gz").write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"tar.gz is no folder, expected the folder cityscapes"):
        verify(tmp_path / "cityscapes.tar.gz", "cityscapes_3d", progress=False)
    with pytest.raises(ArchiveError, match="leftImg8bit/train is missing, expected the images"):
        cityscapes_3d.image_ids(tmp_path, "train")
