"""Streets in Cityscapes' layout become a prepared dataset, from folders and from zips."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import keras_mtl.data
from keras_mtl.data.archives import cityscapes_3d
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.prepare import prepare
from keras_mtl.data.archives.streets import write_cityscapes_3d
from keras_mtl.data.sources import prepared as source_of
from keras_mtl.metrics.detection3d.boxes import no_boxes
from keras_mtl.metrics.detection3d.files import read_truth, write_boxes
from keras_mtl.tasks import CITYSCAPES_CLASSES, DepthEstimation, SemanticSegmentation

pytestmark = pytest.mark.once("tensorflow", "no Keras in it")

BUILDER = Path(__file__).parents[3] / "datasets" / "cityscapes_3d"
SIZE = (32, 64)
TASKS = [
    SemanticSegmentation(channels=19, labels=CITYSCAPES_CLASSES),
    DepthEstimation(),
    DepthEstimation("disparity"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An archive of which one image to train on, and one to validate on, shows no vehicle."""
    path = tmp_path_factory.mktemp("archive") / "cityscapes"
    write_cityscapes_3d(path, train=3, val=2, image_size=SIZE)
    for image_id in ("train/streets/streets_000000_000001", "val/streets/streets_000000_000004"):
        file = path / cityscapes_3d.LAYOUT.files["boxes"][0].format(image_id)
        truth = read_truth(file.read_bytes(), str(file))
        write_boxes(file, no_boxes(), truth.sensor, truth.ignore, SIZE)
    return path


@pytest.fixture(scope="module")
def ready(root, tmp_path_factory):
    return prepare(BUILDER, root.parent, tmp_path_factory.mktemp("data"))


def test_labels_come_back(root, ready):
    for split, numbers in (("train", (0, 2)), ("val", (3, 4))):
        found = list(keras_mtl.data.examples(ready, split, tasks=TASKS))
        assert sorted(example["id"].numpy().decode()[-1] for example in found) == [
            str(number) for number in numbers
        ]
        for example in found:
            wanted = cityscapes_3d.read(root, example["id"].numpy().decode())
            np.testing.assert_array_equal(example["image"], wanted["image"])
            np.testing.assert_array_equal(example["semseg"], wanted["semseg"])
            depth, disparity = (wanted[name][..., None] for name in ("depth", "disparity"))
            np.testing.assert_array_equal(example["depth"], np.where(depth < 80, depth, 0))
            # What a task counts as no label, it says in its own way.
            np.testing.assert_array_equal(example["disparity"], disparity.clip(0))


def test_boxes_come_back(root, ready):
    class Boxes:
        name, output, class_ids, label_channels = "detection3d", "levels", None, None

    source, total, _ = source_of(ready, "val", [Boxes()], besides=("id",))
    assert total == 2
    for _, encoded in source.records:
        example = source.decode(encoded)
        wanted = cityscapes_3d.read(root, example["id"].numpy().decode())
        for name, values in wanted["detection3d"].items():
            np.testing.assert_array_equal(example["detection3d"][name], values)


def test_from_zips_of_some_tasks(root, tmp_path):
    (tmp_path / "downloads").mkdir()
    for top in ("leftImg8bit", "gtFine", "disparity"):
        with zipfile.ZipFile(tmp_path / "downloads" / f"{top}_trainvaltest.zip", "w") as archive:
            for path in sorted((root / top).rglob("*.*")):
                archive.write(path, path.relative_to(root))
    ready = prepare(BUILDER, tmp_path / "downloads", tmp_path / "data")
    info = json.loads((ready / "metadata.json").read_text())
    assert info["lacking"] == ["depth", "detection3d"]
    examples = list(keras_mtl.data.examples(ready, "train", tasks=TASKS[::2]))
    assert len(examples) == 3  # who trains without boxes needs the others, too
    with pytest.raises(ValueError, match="without labels for depth"):
        keras_mtl.data.load(ready, "train", tasks=TASKS, image_size=SIZE)


def test_all_or_none(root, tmp_path):
    broken = tmp_path / "cityscapes"
    write_cityscapes_3d(broken, train=1, val=1, image_size=SIZE)
    next((broken / "camera" / "val").rglob("*.json")).unlink()
    with pytest.raises(ArchiveError, match="has 1 faults, so nothing was written:\n.*is missing"):
        prepare(BUILDER, tmp_path, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("dataset_info.json"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is empty; name the folder that holds the archive"):
        prepare(BUILDER, tmp_path / "empty", tmp_path / "data")
    (tmp_path / "empty" / "notes.txt").write_text("")
    with pytest.raises(ArchiveError, match="neither a folder cityscapes nor leftImg8bit or its"):
        prepare(BUILDER, tmp_path / "empty", tmp_path / "data")
