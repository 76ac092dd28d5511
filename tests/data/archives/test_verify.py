"""Verification names every fault of a broken archive, in one pass, as folder and as tarball."""

import json
import shutil
import tarfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from keras_mtl.data.archives import rooms as room_archives
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.verify import main, verify

pytestmark = pytest.mark.once("torch", "needs no backend")

SIZE = (24, 32)
WRITERS = {
    "nyud_v2": room_archives.write_nyud_v2,
    "pascal_context": room_archives.write_pascal_context,
}
NAMES = {"nyud_v2": "NYUDv2", "pascal_context": "PASCALContext"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound archive of each kind."""
    folder = tmp_path_factory.mktemp("sound")
    return {
        dataset: write(folder / NAMES[dataset], train=2, val=2, image_size=SIZE, seed=5)
        for dataset, write in WRITERS.items()
    }


@pytest.fixture
def copy(sound, tmp_path):
    """`copy(dataset)`: a copy to break."""
    return lambda dataset: shutil.copytree(sound[dataset], tmp_path / NAMES[dataset])


def pack(root):
    path = root.with_name(f"{root.name}.tar.gz")
    with tarfile.open(path, "w:gz") as stream:
        stream.add(root, root.name)
    return path


def without_path(report):
    return {**report.as_dict(), "path": None}


def check(root, dataset):
    """The report on a folder, after seeing that its tarball gets the same."""
    report = verify(root, dataset, progress=False)
    assert without_path(verify(pack(root), dataset, progress=False)) == without_path(report)
    for fault in report.faults:
        assert fault.problem.startswith(fault.file)
        assert "\n" not in fault.problem and fault.problem.endswith(".")
    return report


@pytest.mark.parametrize("dataset", NAMES)
def test_a_sound_archive(sound, dataset, capsys):
    report = check(sound[dataset], dataset)
    assert report.ok and not report.faults
    assert {name: (s.listed, s.sound) for name, s in report.splits.items()} == {
        "train": (2, 2),
        "val": (2, 2),
    }
    assert report.splits["val"].sizes == {"24x32": 2}
    lists = {"nyud_v2": "gt_sets", "pascal_context": "ImageSets/Context"}[dataset]
    public = {"nyud_v2": 795, "pascal_context": 4998}[dataset]
    assert f"{lists}/train.txt lists 2 images, the public copy's {public}." in report.notes
    # Only NYUD's images have all one size.
    assert sum("in the public copy all are 425x560" in note for note in report.notes) == (
        2 if dataset == "nyud_v2" else 0
    )
    assert main([dataset, str(sound[dataset])]) == 0
    printed = capsys.readouterr()
    assert "train              2         2" in printed.out and "is sound" in printed.out
    assert "100%" in printed.err


# === One fault ===


def remove(root, file):
    (root / file).unlink()


def truncate(root, file):
    path = root / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip_a_bit(root, file):
    """Of a pixel; only the checksum tells."""
    path = root / file
    Image.open(path).save(path, compress_level=0)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 300] ^= 4
    path.write_bytes(data)


def value(number):
    def set_value(root, file):
        pixels = np.array(Image.open(root / file))
        pixels[3, 4] = number
        Image.fromarray(pixels).save(root / file)

    return set_value


def resize(root, file):
    Image.open(root / file).resize((640, 480), Image.Resampling.NEAREST).save(root / file)


def not_a_number(root, file):
    depth = np.load(root / file)
    depth[3, 4] = np.nan
    np.save(root / file, depth)


def empty(root, file):
    (root / file).write_text("\n")


def repeat(root, file):
    (root / file).write_text((root / file).read_text() * 2)


def label_map(root, file):
    scipy.io.savemat(root / file, {"LabelMap": np.full(SIZE, 460, np.uint16)})


def unfinished_label_map(root, file):
    scipy.io.savemat(root / file, {"LabelMap": np.ones((12, 32), np.uint16)})


BROKEN = [
    ("nyud_v2", "gt_sets/val.txt", remove, "is missing, expected the list of the images"),
    ("nyud_v2", "gt_sets/val.txt", empty, "lists no image"),
    ("nyud_v2", "gt_sets/val.txt", repeat, "lists 0003, 0004 more than once"),
    ("nyud_v2", "images/0001.png", remove, "is missing, expected the image of image 0001"),
    ("nyud_v2", "images/0004.png", truncate, "is not readable"),
    ("nyud_v2", "edge/0002.png", remove, "is missing, expected the edge of image 0002"),
    ("nyud_v2", "normals/0003.png", truncate, "is not readable"),
    ("nyud_v2", "normals/0001.png", flip_a_bit, "is not readable"),
    ("nyud_v2", "segmentation/0002.png", value(41), "holds the value 41"),
    (
        "nyud_v2",
        "segmentation/0003.png",
        resize,
        "is 480x640 pixels (height x width), expected 24x",
    ),
    ("nyud_v2", "edge/0004.png", value(100), "holds the value 100"),
    ("nyud_v2", "depth/0001.npy", truncate, "it is damaged"),
    ("nyud_v2", "depth/0003.npy", not_a_number, "holds the value nan"),
    ("pascal_context", "ImageSets/Context/train.txt", remove, "is missing"),
    ("pascal_context", "JPEGImages/2008_000001.jpg", truncate, "is not readable"),
    ("pascal_context", "semseg/VOC12/2008_000003.png", value(21), "holds the value 21"),
    ("pascal_context", "sal_distill/2008_000004.png", resize, "is 480x640 pixels"),
    ("pascal_context", "pascal-context/trainval/2008_000001.mat", truncate, ".mat is not readable"),
    ("pascal_context", "pascal-context/trainval/2008_000002.mat", label_map, "the value 460"),
    (
        "pascal_context",
        "pascal-context/trainval/2008_000004.mat",
        unfinished_label_map,
        "is 12x32 pixels (height x width), expected 24x32 as in JPEGImages/2008_000004.jpg",
    ),
    ("pascal_context", "human_parts/2008_000002.mat", truncate, "is not readable"),
    ("pascal_context", "human_parts/2008_000003.mat", remove, "is missing"),
]


@pytest.mark.parametrize(
    "dataset, file, break_it, problem",
    BROKEN,
    ids=[f"{file.rpartition('/')[0]}-{how.__name__}" for _, file, how, _ in BROKEN],
)
def test_one_fault(copy, dataset, file, break_it, problem):
    root = copy(dataset)
    break_it(root, file)
    report = check(root, dataset)
    assert not report.ok
    (fault,) = report.faults
    assert fault.file == file
    assert problem in fault.problem
    if file.endswith(".txt"):
        assert all(split.sound == split.listed for split in report.splits.values())
    else:
        assert sum(split.sound for split in report.splits.values()) == 3


def test_neither_classes_of_voc_nor_of_context(copy):
    root = copy("pascal_context")
    (root / "semseg/VOC12/2008_000001.png").unlink()
    (fault,) = check(root, "pascal_context").faults
    assert fault.file == ("semseg/VOC12/2008_000001.png or semseg/pascal-context/2008_000001.png")


# === Whole archives ===


@pytest.mark.parametrize("dataset", NAMES)
def test_all_faults_in_one_pass(copy, dataset, capsys):
    root = copy(dataset)
    broken = {}
    for kind, file, break_it, _ in BROKEN:
        if kind == dataset and file not in broken and not file.endswith(".txt"):
            break_it(root, file)
            broken[file] = break_it
    report = check(root, dataset)
    assert {fault.file for fault in report.faults} == set(broken) and len(broken) >= 7
    assert len(report.faults) == len(broken)
    path = pack(root)
    assert main([dataset, str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == verify(path, dataset, False).as_dict()
    assert main([dataset, str(path)]) == 1
    printed = capsys.readouterr().out
    assert f"Faults ({len(broken)})" in printed
    for fault in report.faults:
        assert f"\n- {fault.problem}\n" in printed


@pytest.mark.parametrize(
    "dataset, folder, lacking",
    [
        ("nyud_v2", "normals", {"normals"}),
        ("pascal_context", "sal_distill", {"sal"}),
        ("pascal_context", "pascal-context", {"normals", "edge"}),
        ("pascal_context", "semseg", {"semseg"}),
    ],
)
def test_a_lacking_task_is_no_fault(copy, sound, dataset, folder, lacking):
    root = copy(dataset)
    shutil.rmtree(root / folder)
    report = check(root, dataset)
    assert report.ok
    every = verify(sound[dataset], dataset, progress=False)
    assert report.tasks == [task for task in every.tasks if task not in lacking]
    for task in lacking:
        assert any(f"Task {task} cannot be prepared" in note for note in report.notes)
    assert len(report.notes) == len(every.notes) + len(lacking)
    assert not {fault.file for fault in report.faults}


def test_an_empty_folder_is_a_lacking_one(copy):
    root = copy("nyud_v2")
    for path in (root / "depth").iterdir():
        path.unlink()
    assert check(root, "nyud_v2").tasks == ["semseg", "normals", "edge"]


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9, 0.9999])
@pytest.mark.parametrize("dataset", NAMES)
def test_a_tarball_cut_short(copy, dataset, share):
    path = pack(copy(dataset))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    report = verify(path, dataset, progress=False)
    assert not report.ok
    assert report.faults[0].file == path.name
    assert "expected a whole .tar.gz; copy or download it again." in report.faults[0].problem
    assert not any("cannot be prepared" in note for note in report.notes)  # nobody knows


def test_a_tarball_damaged_in_the_middle(copy):
    path = pack(copy("nyud_v2"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    path.write_bytes(data)
    report = verify(path, "nyud_v2", progress=False)
    assert "NYUDv2.tar.gz ends early or is damaged" in report.faults[0].problem


def test_a_tarball_cut_between_two_members(copy, tmp_path):
    """tarfile alone takes it for a whole one."""
    with (
        tarfile.open(pack(copy("nyud_v2"))) as whole,
        tarfile.open(tmp_path / "a.tar", "w") as part,
    ):
        for member in whole.getmembers():
            if member.name.endswith("0004.png") or member.isdir():
                continue
            part.addfile(member, whole.extractfile(member))
        end = part.offset
    path = tmp_path / "a.tar"
    path.write_bytes(path.read_bytes()[:end])
    files = {fault.file for fault in verify(path, "nyud_v2", progress=False).faults}
    assert files == {
        f"{folder}/0004.png" for folder in ("images", "segmentation", "normals", "edge")
    }


def test_a_tarball_without_the_outer_folder(sound, tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as stream:
        stream.add(sound["nyud_v2"], ".")
        stream.add(sound["nyud_v2"] / "gt_sets/val.txt", "./images/._0001.png")  # macOS does so
    report = verify(tmp_path / "a.tar.gz", "nyud_v2", progress=False)
    assert report.ok
    assert without_path(report) == without_path(verify(sound["nyud_v2"], "nyud_v2", progress=False))


def test_only_one_split(copy, capsys):
    root = copy("nyud_v2")
    (root / "edge/0001.png").unlink()
    (root / "gt_sets/train.txt").unlink()
    for path in (root, pack(root)):
        assert main(["nyud_v2", str(path), "--split", "val", "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["splits"]) == ["val"]


def test_not_an_archive(sound, tmp_path, capsys):
    with pytest.raises(
        ArchiveError, match="does not exist, expected the folder NYUDv2 or NYUDv2.tar"
    ):
        verify(tmp_path / "nothing", "nyud_v2")
    with pytest.raises(
        ArchiveError, match="none of the folders of NYUDv2, expected gt_sets, images"
    ):
        verify(sound["pascal_context"], "nyud_v2", progress=False)
    with pytest.raises(ValueError, match="Unknown dataset 'nyud'; use nyud_v2 or pascal_context"):
        verify(tmp_path, "nyud")
    with pytest.raises(ValueError, match="NYUDv2 has no split 'test'; use train or val"):
        verify(tmp_path, "nyud_v2", splits=["test"])
    for arguments in (["nyud_v2", str(tmp_path / "nothing")], ["cityscapes", str(tmp_path)]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    (tmp_path / "text.tar.gz").write_text("no tarball")
    assert main(["nyud_v2", str(tmp_path / "text.tar.gz")]) == 1
    assert "text.tar.gz ends early or is damaged" in capsys.readouterr().out
