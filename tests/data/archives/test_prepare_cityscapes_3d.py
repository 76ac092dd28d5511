"""Streets in Cityscapes' layout become a prepared dataset, from folders and from zips."""

import json
import zipfile
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl.data
from keras_mtl import boxes3d
from keras_mtl.boxes3d.labels import sensor_of
from keras_mtl.boxes3d.points import parts_of_raw, points_of
from keras_mtl.data.archives import cityscapes_3d
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.prepare import prepare
from keras_mtl.data.archives.streets import write_cityscapes_3d
from keras_mtl.data.sources import prepared as source_of
from keras_mtl.evaluation import boxes_from_prediction, evaluate_boxes
from keras_mtl.losses.detection3d.targets import point_targets
from keras_mtl.metrics.detection3d.boxes import no_boxes
from keras_mtl.metrics.detection3d.files import read_truth, write_boxes
from keras_mtl.models.photographs import Place
from keras_mtl.tasks import Detection3D
from keras_mtl.tasks import cityscapes_3d as tasks_of

pytestmark = pytest.mark.once("tensorflow", "no Keras in it")

BUILDER = Path(__file__).parents[3] / "datasets" / "cityscapes_3d"
SIZE = (32, 64)
TASKS = tasks_of("semseg", "depth", "disparity")


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
            np.testing.assert_array_equal(example["disparity"], disparity)


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


# === The round trip ===


STRIDES = (4, 8, 16, 16, 32)


def perfect(task, label):
    """The raw output of one image that its label trains a network for, and which boxes it has."""
    points = points_of([(-(-SIZE[0] // s), -(-SIZE[1] // s)) for s in STRIDES], STRIDES)
    raw = np.zeros((len(points), task.channels), "float32")
    raw[:, -points.shape[-1] :], raw[:, :6] = points, -20
    parts = parts_of_raw(raw)  # views
    turned = label["rotations"] + np.where(label["classes"] < 0, 1, 0)[:, None]  # none has length 0
    angles = boxes3d.angles_of(boxes3d.matrix_from_quaternion(turned))
    batch = {name: values[None] for name, values in {**label, "angles": angles}.items()}
    found = point_targets(batch, parts_of_raw(keras.ops.convert_to_tensor(raw[None])))
    found = {name: np.asarray(values)[0] for name, values in found._asdict().items()}
    at = found["positive"]
    for name in ("offset", "depth", "size", "angles", "box"):
        mine = getattr(parts, name)
        mine[at] = found[name][at].reshape(mine[at].shape)
    raw[at, found["classes"][at]] = 20
    parts.centerness[at, 0] = np.log(found["centerness"][at] / (1 - found["centerness"][at] + 1e-6))
    parts.direction[at] = 40 * np.eye(2)[found["direction"][at]].reshape(-1, 6) - 20
    return raw, np.unique(found["object"][at])


def test_round_trip(ready, tmp_path):
    """Streets, their files, a prepared dataset, batches, targets, a perfect prediction, mDS.

    All that hinders 100 are boxes that no point stands for, as others' centres are nearer, and a
    class whose pairs are all equally far, which the benchmark gives 0.
    """
    task = Detection3D()
    evaluator, taken, truths = task.evaluator(), Counter(), Counter()
    for split in ("train", "val"):
        batches = keras_mtl.data.load(ready, split, tasks=[task], image_size=SIZE)
        for _, labels in batches:
            for k in range(len(labels[task.name]["classes"])):
                label = {name: x[k].numpy() for name, x in labels[task.name].items()}
                raw, objects = perfect(task, label)
                evaluator.add(label, raw, Place(SIZE, SIZE, 0, 0, *SIZE), {})
                truths.update(label["classes"][label["classes"] >= 0].tolist())
                taken.update(label["classes"][objects].tolist())
    classes = evaluator.results()["classes"]
    for number, found in enumerate(classes.values()):
        assert found["truths"] == truths[number]
        if truths[number]:
            assert found["AP"] == pytest.approx(100 * taken[number] / truths[number], abs=1e-3)
        quality = 100 if len(found["pairs"]) > 1 else 0
        for name in ("center", "size", "yaw", "pitch_roll"):
            assert found[name] == pytest.approx(quality, abs=1e-2)
    assert truths[0] >= 8 and classes["car"]["DS"] > 70


def test_predictions_in_files_score_the_same(root, ready, tmp_path):
    """Those for a submission, against the archive's own annotations."""
    task = Detection3D()
    evaluator = task.evaluator()
    for split in ("train", "val"):
        for example in keras_mtl.data.examples(ready, split, tasks=[task]):
            label = {name: values.numpy() for name, values in example[task.name].items()}
            raw, _ = perfect(task, label)
            place = Place(SIZE, SIZE, 0, 0, *SIZE, camera=label["camera"])
            evaluator.add(label, raw, place, {})
            found = boxes_from_prediction(task.restore(raw, place), sensor_of(label), SIZE)
            name = cityscapes_3d.name_of(example["id"].numpy().decode())
            write_boxes(tmp_path / f"{name}_predictions.json", found)
    report = evaluate_boxes(tmp_path, root / "gtBbox3d", progress=False)
    assert report.scores.images == 5 and len(report.without) == 1  # the one that shows no vehicle
    wanted = evaluator.results()["scores"]
    assert report.scores.mDS == pytest.approx(wanted["mDS"], abs=1e-2) and wanted["mDS"] > 20
