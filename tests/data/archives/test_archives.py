"""Rooms written in the public archives' layouts are read back as they were rendered."""

import io

import numpy as np
import pytest
import scipy.io
from PIL import Image
from skimage.morphology import thin

from keras_mtl import rooms
from keras_mtl.data.archives import nyud_v2, pascal_context
from keras_mtl.data.archives import rooms as room_archives
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.tasks import DATASETS, nyud
from keras_mtl.tasks import pascal_context as pascal_tasks

pytestmark = pytest.mark.once("torch", "needs no backend")

SIZE = (24, 32)
SEED = 5


@pytest.fixture(scope="module")
def nyud_root(tmp_path_factory):
    path = tmp_path_factory.mktemp("archives") / "NYUDv2"
    return room_archives.write_nyud_v2(path, train=3, val=2, image_size=SIZE, seed=SEED)


@pytest.fixture(scope="module")
def pascal_root(tmp_path_factory):
    path = tmp_path_factory.mktemp("archives") / "PASCALContext"
    return room_archives.write_pascal_context(path, train=5, val=3, image_size=SIZE, seed=SEED)


def scenes(module, root):
    """Each image's labels as read, and the scene that it was made from."""
    for split in module.SPLITS:
        for image_id in module.image_ids(root, split):
            number = int(image_id.rpartition("_")[2]) - 1
            yield image_id, module.read(root, image_id), rooms.render(SEED, SIZE, number)


def assert_same(found, dtype, wanted):
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)


def as_png(pixels, mode=None):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def as_mat(**variables):
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables)
    return stream.getvalue()


def as_npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def anno(*objects):
    """`.mat` bytes of objects (class name, class id, mask, parts [(name, mask)])."""
    fields = [(name, object) for name in ("class", "class_ind", "mask", "parts")]
    table = np.zeros((1, len(objects)), fields)
    for k, (name, number, mask, parts) in enumerate(objects):
        listed = np.zeros((1, len(parts)), [("part_name", object), ("mask", object)])
        for j, part in enumerate(parts):
            listed[0, j] = part
        table[0, k] = (name, number, mask, listed if parts else np.zeros((0, 0)))
    return as_mat(anno={"imname": "x", "objects": table})


# === Round trips ===


def test_tasks_are_the_papers():
    assert list(nyud_v2.TASKS) == [task.name for task in nyud()]
    assert list(pascal_context.TASKS) == [task.name for task in pascal_tasks()]


@pytest.mark.parametrize("module", [nyud_v2, pascal_context])
def test_the_archive_holds_what_the_table_of_its_dataset_says(module):
    dataset = DATASETS[module.__name__.rpartition(".")[2]]
    assert module.LAYOUT.name == dataset.archive
    assert set(module.TASKS) == {task.name for task in dataset.tasks()}
    assert module.SPLITS["val"] == dataset.images


def test_nyud_comes_back(nyud_root):
    assert nyud_v2.image_ids(nyud_root, "train") == ["0001", "0002", "0003"]
    assert nyud_v2.image_ids(nyud_root, "val") == ["0004", "0005"]
    for _, found, scene in scenes(nyud_v2, nyud_root):
        assert list(found) == ["image", *nyud_v2.TASKS]
        assert_same(found["image"], np.uint8, scene["image"])
        assert_same(found["semseg"], np.uint8, scene["nyud_semseg"])
        assert_same(found["depth"], np.float32, scene["depth"][..., 0])
        assert_same(found["edge"], np.uint8, scene["edge"][..., 0])
        assert found["normals"].dtype == np.uint8
        normals = found["normals"] * (2 / 255) - 1
        assert np.abs(normals - scene["normals"]).max() <= 1 / 255 + 1e-6


def test_pascal_comes_back(pascal_root):
    people, in_voc, without_normals = set(), 0, 0
    for image_id, found, scene in scenes(pascal_context, pascal_root):
        assert sorted(found) == sorted(["image", "label_map", *pascal_context.TASKS])
        assert found["image"].shape == (*SIZE, 3) and found["image"].dtype == np.uint8
        assert np.abs(found["image"].astype(int) - scene["image"]).mean() < 12  # JPEG
        assert_same(found["semseg"], np.uint8, scene["pascal_semseg"])
        assert_same(found["human_parts"], np.uint8, scene["human_parts"])
        assert_same(found["sal"], np.uint8, scene["sal"])
        label_map = scipy.io.loadmat(pascal_root / f"pascal-context/trainval/{image_id}.mat")
        label_map = label_map["LabelMap"]
        assert label_map.dtype == np.uint16
        assert_same(found["label_map"], np.int32, label_map)
        assert_same(found["edge"], np.uint8, boundary_rule(label_map))
        valid = np.isin(label_map, pascal_context.NORMALS_CLASSES)
        assert (found["normals"][~valid] == 0).all()
        normals = found["normals"] * (2 / 255) - 1
        assert np.abs(normals - scene["normals"])[valid].max() <= 1 / 255 + 1e-6
        # One class for each thing, so boundaries lie between things.
        pairs = np.unique(np.stack([label_map, scene["instances"]], -1).reshape(-1, 2), axis=0)
        assert len(pairs) == len(np.unique(label_map)) == len(np.unique(scene["instances"]))
        people.add((scene["human_parts"] != 255).any())
        in_voc += (pascal_root / f"semseg/VOC12/{image_id}.png").exists()
        without_normals += (~valid).any()
    assert people == {True, False} and in_voc == 4 and without_normals  # nothing went untested


def boundary_rule(label_map):
    """thin(|Laplacian| > 0): the sum of the differences to the four neighbours, the image
    mirrored at its border."""
    padded = np.pad(label_map.astype(int), 1, "reflect")
    laplacian = np.zeros(label_map.shape, int)
    for i in range(label_map.shape[0]):
        for j in range(label_map.shape[1]):
            for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                laplacian[i, j] += padded[1 + i + di, 1 + j + dj] - padded[1 + i, 1 + j]
    return thin(np.abs(laplacian) > 0)


def test_boundaries_keep_to_the_definition():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 460, (6, 7)), np.ones((5, 4), int))
    # Pixel by pixel differences cancel out here and there, also where the image is mirrored.
    for label_map in (blocks, rng.integers(0, 4, (15, 22)), rng.integers(0, 2, (9, 12))):
        found = pascal_context.boundaries(label_map.astype(np.uint16))
        assert_same(found, np.uint8, boundary_rule(label_map))
    assert not pascal_context.boundaries(np.full((6, 9), 400, np.uint16)).any()


# === Conventions of the files ===


@pytest.mark.parametrize(
    "module, part, data, wanted",
    [
        (nyud_v2, "semseg", as_png([[0, 1, 40]]), [[255, 0, 39]]),
        (nyud_v2, "edge", as_png([[0, 255]]), [[0, 1]]),
        (nyud_v2, "depth", as_npy([[0.0, 2.5]]), [[0, 2.5]]),
        (nyud_v2, "depth", as_npy(np.ones((1, 2, 1), "f4")), [[1, 1]]),
        (
            nyud_v2,
            "normals",
            as_png([[[127, 128, 127], [0, 0, 0], [128, 128, 255]]]),
            [[[0, 0, 0], [0, 0, 0], [128, 128, 255]]],
        ),
        (nyud_v2, "image", as_png([[7, 9]]), [[[7, 7, 7], [9, 9, 9]]]),
        (pascal_context, "semseg", as_png([[0, 20, 255]]), [[0, 20, 255]]),
        (pascal_context, "sal", as_png([[0, 127, 128, 255]]), [[0, 0, 1, 1]]),
        (pascal_context, "label_map", as_mat(LabelMap=[[0.0, 459.0]]), [[0, 459]]),
    ],
)
def test_stored_values(module, part, data, wanted):
    np.testing.assert_array_equal(module.decode(part, data, "file"), wanted)


def test_normals_keep_no_foreign_class(tmp_path):
    """3 has valid normals, 5 has not."""
    root = small_pascal(tmp_path)
    (root / "pascal-context/trainval/1.mat").write_bytes(as_mat(LabelMap=[[3, 5, 3]]))
    (root / "normals_distill/1.png").write_bytes(as_png([[[9, 8, 7], [9, 8, 7], [127] * 3]]))
    found = pascal_context.read(root, "1")
    assert found["normals"].tolist() == [[[9, 8, 7], [0, 0, 0], [0, 0, 0]]]
    assert len(pascal_context.NORMALS_CLASSES) == 170


def small_pascal(folder):
    """An archive of one 1x3 image without labels."""
    for part in pascal_context.LAYOUT.files:
        for name in pascal_context.LAYOUT.folders(part):
            (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(folder / "JPEGImages/1.jpg")
    return folder


PART_NAMES = {
    1: "head hair lear rear lebrow rebrow leye reye mouth nose",
    2: "neck torso",
    3: "luarm ruarm",
    4: "llarm rlarm lhand rhand",
    5: "luleg ruleg",
    6: "llleg rlleg lfoot rfoot",
}


def test_24_parts_become_6():
    names = [(name, number) for number, names in PART_NAMES.items() for name in names.split()]
    assert len(names) == 24
    pixels = np.eye(25, dtype=np.uint8)[:24]  # one pixel for each part, and one of the background
    parts = [(name, mask[None]) for (name, _), mask in zip(names, pixels, strict=True)]
    whole = np.ones((1, 25), np.uint8)
    cat = ("cat", 8, whole, [("tail", whole)])
    data = anno(cat, ("person", 15, whole, parts[:9]), ("person", 15, whole, parts[9:]))
    found = pascal_context.decode("human_parts", data, "1.mat")
    assert_same(found, np.uint8, [[number for _, number in names] + [0]])


def test_the_later_of_overlapping_parts_counts():
    parts = [("lfoot", np.array([[1, 1, 0]])), ("head", np.array([[0, 1, 1]]))]
    data = anno(("person", 15, np.ones((1, 3)), parts))
    assert pascal_context.decode("human_parts", data, "1.mat").tolist() == [[6, 1, 1]]


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [("cat", 8, np.ones((1, 3)), [("head", np.ones((1, 3)))])],
        [("person", 15, np.ones((1, 3)), [])],
        [("person", 15, np.ones((1, 3)), [("head", np.zeros((1, 3)))])],
    ],
    ids=["nothing", "a cat", "a person without parts", "an empty part"],
)
def test_no_label_where_nobody_has_parts(tmp_path, objects):
    root = small_pascal(tmp_path)
    (root / "human_parts/1.mat").write_bytes(anno(*objects))
    assert pascal_context.read(root, "1")["human_parts"].tolist() == [[255, 255, 255]]


def test_voc_classes_come_first(tmp_path):
    root = small_pascal(tmp_path)
    (root / "semseg/pascal-context/1.png").write_bytes(as_png([[1, 2, 3]]))
    assert pascal_context.read(root, "1")["semseg"].tolist() == [[1, 2, 3]]
    (root / "semseg/VOC12/1.png").write_bytes(as_png([[4, 5, 6]]))
    assert pascal_context.read(root, "1")["semseg"].tolist() == [[4, 5, 6]]


# === Faults ===


@pytest.mark.parametrize(
    "module, part, data, message",
    [
        (
            nyud_v2,
            "semseg",
            as_png([[41, 41]]),
            r"^f holds the value 41 \(2 pixels .* 1 to 40; get",
        ),
        (nyud_v2, "semseg", as_png([[1]], "RGB"), "^f has mode RGB, expected .* mode L or P; conv"),
        (nyud_v2, "semseg", b"nothing", r"^f is not readable \(it is no .*\), expected an 8-bit"),
        (nyud_v2, "edge", as_png([[1]]), "^f holds the value 1 .* expected 0, or 255 on bound"),
        (nyud_v2, "normals", as_png([[1]]), "^f has mode L, expected .* RGB"),
        (nyud_v2, "depth", as_npy([[np.nan]]), "^f holds the value nan .* expected metres"),
        (nyud_v2, "depth", as_npy([[2500.0, 0.0]]), "^f: .* millimetres; divide by 1000"),
        (nyud_v2, "depth", as_npy([[-1.0, np.inf]]), "^f holds the value -1.0"),
        (nyud_v2, "depth", as_npy([[1]]), "^f has shape .* type int64, expected"),
        (nyud_v2, "depth", as_npy([1.0]), r"^f has shape \(1,\)"),
        (nyud_v2, "depth", as_npy(np.array([{}])), "^f holds Python objects and was not read"),
        (pascal_context, "semseg", as_png([[21]]), "^f holds the value 21 .* 0 to 20"),
        (pascal_context, "label_map", as_mat(LabelMap=[[460]]), "^f holds the value 460"),
        (pascal_context, "label_map", as_mat(LabelMap=[[1.5]]), "^f holds the value 1.5"),
        (pascal_context, "label_map", as_mat(LabelMap="x"), "^f has a LabelMap of shape"),
        (pascal_context, "label_map", as_mat(Map=[[1]]), "^f holds Map, expected .* LabelMap; get"),
        (pascal_context, "human_parts", as_mat(anno=[[1]]), "^f has an anno of another form"),
        (
            pascal_context,
            "human_parts",
            anno(("person", 15, np.ones((1, 3)), [("tail", np.ones((1, 3)))])),
            "^f names the part 'tail' of a person, expected one of head, hair",
        ),
        (
            pascal_context,
            "human_parts",
            anno(("person", 15, 1, [("head", np.ones((1, 3))), ("nose", np.ones((2, 3)))])),
            "^f has part masks of 1x3 and 2x3 pixels",
        ),
    ],
)
def test_a_wrong_file_is_named(module, part, data, message):
    with pytest.raises(ArchiveError, match=message) as caught:
        module.decode(part, data, "f")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_missing_file_is_named(nyud_root, pascal_root):
    with pytest.raises(
        ArchiveError, match="images/9.png is missing, expected the image of image 9"
    ):
        nyud_v2.read(nyud_root, "9")
    with pytest.raises(ArchiveError, match="JPEGImages/9.jpg is missing"):
        pascal_context.read(pascal_root, "9")
    with pytest.raises(ValueError, match="NYUDv2 has no split 'test', only train, val"):
        nyud_v2.image_ids(nyud_root, "test")


def test_a_label_of_another_size_is_named(tmp_path):
    root = small_pascal(tmp_path)
    (root / "sal_distill/1.png").write_bytes(as_png([[0, 0]]))
    with pytest.raises(
        ArchiveError, match=r"sal_distill/1.png is 1x2 pixels .* expected 1x3 as in"
    ):
        pascal_context.read(root, "1")


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "train.txt is missing, expected the list of the images in split train"),
        (b"\n \n", "train.txt lists no image"),
        (b"1\n2\n1\n", "train.txt lists 1 more than once"),
        (b"\xff", "train.txt is not readable"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "gt_sets").mkdir()
        (tmp_path / "gt_sets/train.txt").write_bytes(text)
    with pytest.raises(ArchiveError, match=message):
        nyud_v2.image_ids(tmp_path, "train")


@pytest.mark.parametrize(
    "folders, left",
    [
        (["semseg/VOC12"], ["human_parts", "sal", "normals", "edge"]),
        (["human_parts", "sal_distill"], ["semseg", "normals", "edge"]),
        (["normals_distill"], ["semseg", "human_parts", "sal", "edge"]),
        (["pascal-context"], ["semseg", "human_parts", "sal"]),
    ],
)
def test_a_partial_archive_lacks_whole_tasks(tmp_path, folders, left):
    root = room_archives.write_pascal_context(tmp_path / "P", 1, 1, SIZE)
    (root / "semseg/pascal-context").rename(tmp_path / "the second image's classes")
    for folder in folders:
        (root / folder).rename(tmp_path / folder.replace("/", " "))
    assert pascal_context.lacking(root) == [t for t in pascal_context.TASKS if t not in left]
    found = pascal_context.read(root, "2008_000001")
    found.pop("label_map", None)  # comes with edges
    assert list(found) == ["image", *left]
