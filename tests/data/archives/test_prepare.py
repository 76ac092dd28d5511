"""From an archive on disk to a prepared dataset, in one piece or not at all."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_mtl.data
from keras_mtl import rooms
from keras_mtl.data.archives import nyud_v2, pascal_context
from keras_mtl.data.archives.prepare import main, prepare
from keras_mtl.data.archives.rooms import write_nyud_v2, write_pascal_context
from keras_mtl.tasks import SemanticSegmentation, nyud
from keras_mtl.tasks import pascal_context as pascal_tasks

pytestmark = pytest.mark.once("tensorflow", "no Keras in it")

BUILDERS = Path(__file__).parents[3] / "datasets"
SIZE = (24, 32)
ARCHIVES = {
    "nyud_v2": (write_nyud_v2, "NYUDv2", nyud_v2, nyud()),
    "pascal_context": (write_pascal_context, "PASCALContext", pascal_context, pascal_tasks()),
}


@pytest.fixture(scope="module", params=list(ARCHIVES))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def manual(kind, tmp_path_factory):
    """The folder that holds the archive."""
    write, name, _, _ = ARCHIVES[kind]
    folder = tmp_path_factory.mktemp("manual")
    write(folder / name, train=3, val=2, image_size=SIZE)
    return folder


@pytest.fixture(scope="module")
def prepared(kind, manual, tmp_path_factory):
    return prepare(BUILDERS / kind, manual, tmp_path_factory.mktemp("data"))


def batches(folder, split, tasks):
    loaded = keras_mtl.data.load(folder, split, tasks=tasks, image_size=SIZE, batch_size=8)
    ((images, labels),) = loaded
    return images.numpy(), {name: label.numpy() for name, label in labels.items()}


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("val", 3)])
def test_what_the_generator_drew_comes_back(kind, manual, prepared, split, first):
    _, name, archive, tasks = ARCHIVES[kind]
    images, labels = batches(prepared, split, tasks)
    count = {"train": 3, "val": 2}[split]
    assert len(images) == count
    for i in range(count):
        drawn = rooms.render(0, SIZE, index=first + i)
        # Records are stored shuffled; each image names its scene.
        scene = min(
            range(count), key=lambda n: np.abs(images[n] - drawn["image"].astype("float32")).mean()
        )
        if kind == "nyud_v2":
            np.testing.assert_array_equal(images[scene], drawn["image"])
            np.testing.assert_array_equal(labels["semseg"][scene], drawn["nyud_semseg"])
            np.testing.assert_array_equal(labels["depth"][scene], drawn["depth"])
            np.testing.assert_array_equal(labels["edge"][scene], drawn["edge"])
            valid = np.ones(SIZE, bool)
        else:
            np.testing.assert_array_equal(labels["semseg"][scene], drawn["pascal_semseg"])
            np.testing.assert_array_equal(labels["human_parts"][scene], drawn["human_parts"])
            np.testing.assert_array_equal(labels["sal"][scene], drawn["sal"])
            read = archive.read(manual / name, archive.image_ids(manual / name, split)[i])
            np.testing.assert_array_equal(labels["edge"][scene][..., 0], read["edge"])
            valid = read["normals"].any(-1)
            assert not labels["normals"][scene][~valid].any()
        # 8 bits a component: half a step of 2 / 255 in each, and the length made 1 again.
        error = np.linalg.norm(labels["normals"][scene] - drawn["normals"], axis=-1)
        assert error[valid].max() < 2 * np.sqrt(3) / 255


def test_prepared_data_needs_no_builder(prepared, kind, tmp_path):
    """TFDS alone reads it, in a process that never saw the builder."""
    code = (
        "import sys, tensorflow_datasets as tfds;"
        "data = tfds.builder_from_directory(sys.argv[1]).as_dataset(split='train');"
        "print(sorted(next(iter(data))))"
    )
    command = [sys.executable, "-c", code, prepared]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    features = ["image", "id", *(task.name for task in ARCHIVES[kind][3])]
    features += ["label_map"] if kind == "pascal_context" else []
    assert done.stdout.strip().splitlines()[-1] == str(sorted(features))


def test_examples_at_their_own_size(kind, manual, prepared):
    _, name, archive, tasks = ARCHIVES[kind]
    found = {}
    for example in keras_mtl.data.examples(prepared, "val", tasks=tasks):
        example = {key: value.numpy() for key, value in example.items()}
        found[example.pop("id").decode()] = example
    assert sorted(found) == archive.image_ids(manual / name, "val")
    for image_id, example in found.items():
        read = archive.read(manual / name, image_id)
        # JPEG, too, as Pillow decodes it.
        np.testing.assert_array_equal(example["image"], read["image"])
        assert example["image"].dtype == np.uint8
        for task in tasks:
            label = example[task.name]
            assert label.shape == task.label_shape(*SIZE) and label.dtype == task.label_dtype
            task.check_labels(label[None], *SIZE)
            if task.name != "normals":
                np.testing.assert_array_equal(label, read[task.name].reshape(label.shape))
        if kind == "pascal_context":
            assert example["label_map"].dtype == np.uint16 and example["label_map"].max() > 0
            np.testing.assert_array_equal(example["label_map"], read["label_map"])


@pytest.mark.parametrize("inside", [None, ".", "some/other/name"])
def test_from_a_tarball(kind, manual, prepared, tmp_path, inside):
    _, name, _, tasks = ARCHIVES[kind]
    with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as file:
        file.add(manual / name, inside or name)
    again = prepare(BUILDERS / kind, tmp_path, tmp_path / "data")
    for found, expected in zip(
        batches(again, "train", tasks)[1].values(),
        batches(prepared, "train", tasks)[1].values(),
        strict=True,
    ):
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))


def left_in(folder: Path) -> list[str]:
    """Files of datasets, whole or not, but for what an extracted tarball leaves."""
    return [str(f) for f in folder.rglob("*") if f.is_file() and "downloads" not in f.parts]


def test_a_broken_archive_leaves_nothing(tmp_path, capsys):
    root = write_nyud_v2(tmp_path / "NYUDv2", train=3, val=1, image_size=SIZE)
    broken = root / "depth" / f"{nyud_v2.image_ids(root, 'val')[0]}.npy"
    broken.write_bytes(broken.read_bytes()[:50])
    arguments = [str(BUILDERS / "nyud_v2"), "--manual_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--data_dir", str(tmp_path / "data")])
    message = str(stop.value)
    assert message.startswith("Not prepared: ") and broken.name in message
    assert not left_in(tmp_path / "data")


def test_no_archive(tmp_path):
    with pytest.raises(ValueError, match="is empty; name the folder that holds the archive"):
        prepare(BUILDERS / "nyud_v2", tmp_path, tmp_path / "data")
    (tmp_path / "notes.txt").write_text("nothing else")
    with pytest.raises(ValueError, match="holds neither a folder NYUDv2 nor NYUDv2.tar.gz"):
        prepare(BUILDERS / "nyud_v2", tmp_path, tmp_path / "data")


def test_overwriting(tmp_path, capsys):
    """What is there stays until the new one is whole."""
    root = write_nyud_v2(tmp_path / "NYUDv2", train=2, val=1, image_size=SIZE)
    data = tmp_path / "data"
    arguments = [str(BUILDERS / "nyud_v2"), "--data_dir", str(data), "--manual_dir"]
    version = prepare(BUILDERS / "nyud_v2", tmp_path, data)

    def files():
        return {f.name: f.stat().st_mtime_ns for f in version.iterdir()}

    before = files()
    main([*arguments, str(tmp_path)])
    assert "is prepared already and was left as it is" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="There is no folder .*nowhere"):
        main([*arguments, str(tmp_path / "nowhere"), "--overwrite"])
    label = root / "depth" / f"{nyud_v2.image_ids(root, 'val')[0]}.npy"
    whole = label.read_bytes()
    label.write_bytes(whole[:50])
    with pytest.raises(SystemExit, match="Not prepared: .* has 1 faults"):
        main([*arguments, str(tmp_path), "--overwrite"])
    assert files() == before and os.listdir(version.parent) == ["1.0.0"]

    version.rename(version.with_name(".replaced-1.0.0"))  # as a killed run leaves it
    main([*arguments, str(tmp_path)])
    assert files() == before and os.listdir(version.parent) == ["1.0.0"]
    label.write_bytes(whole)
    main([*arguments, str(tmp_path), "--overwrite"])
    assert files().keys() == before.keys() and files() != before
    assert os.listdir(version.parent) == ["1.0.0"]
    assert capsys.readouterr().out.splitlines()[-1] == f"Prepared {version}"


def test_no_builder(tmp_path):
    with pytest.raises(ValueError, match="such as datasets/nyud_v2"):
        prepare(tmp_path, tmp_path)


def test_class_ids_beyond_the_classes(prepared, kind):
    few = SemanticSegmentation(channels=2)
    with pytest.raises(Exception, match=f"'semseg' in {prepared} holds a class id above 1"):
        batches(prepared, "train", [few])


def test_a_partial_archive(tmp_path):
    """And one of its images in a format that TensorFlow's decoder does not know."""
    root = write_nyud_v2(tmp_path / "NYUDv2", train=2, val=1, image_size=SIZE)
    (root / "normals").rename(tmp_path / "elsewhere")
    (image_id,) = nyud_v2.image_ids(root, "val")
    file = next((root / "images").glob(f"{image_id}.*"))
    with Image.open(file) as image:
        pixels = np.array(image)
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    folder = prepare(BUILDERS / "nyud_v2", tmp_path, tmp_path / "data")
    assert json.loads((folder / "metadata.json").read_text())["lacking"] == ["normals"]
    images, labels = batches(folder, "train", nyud("semseg", "depth", "edge"))
    assert len(images) == 2 and labels["depth"].min() > 0
    np.testing.assert_array_equal(batches(folder, "val", nyud("depth"))[0][0], pixels)
    with pytest.raises(ValueError, match="normals"):
        batches(folder, "train", nyud())


RUN = """
import os, signal, sys
from keras_mtl.data.archives import nyud_v2
from keras_mtl.data.archives.prepare import main

whole, read = {}, nyud_v2.read

def dies(root, image_id):
    whole[image_id] = True
    if len(whole) == 3:
        BREAK
    return read(root, image_id)

nyud_v2.read = dies
main(sys.argv[1:])
"""


def run(body, *arguments):
    code = RUN.replace("BREAK", body)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


def test_killed_half_way_and_started_again(tmp_path):
    write_nyud_v2(tmp_path / "NYUDv2", train=4, val=2, image_size=SIZE)
    data = tmp_path / "data"
    arguments = [BUILDERS / "nyud_v2", "--manual_dir", tmp_path, "--data_dir", data]
    killed = run("os.kill(os.getpid(), signal.SIGKILL)", *arguments)
    assert killed.returncode == -signal.SIGKILL
    version = data / "nyud_v2" / "1.0.0"
    assert not version.exists()
    assert prepare(BUILDERS / "nyud_v2", tmp_path, data) == version
    assert os.listdir(data / "nyud_v2") == ["1.0.0"]
    assert len(batches(version, "train", nyud())[0]) == 4
    assert len(batches(version, "val", nyud())[0]) == 2


@pytest.mark.parametrize(
    "body",
    [
        "raise OSError(28, 'No space left on device')",
        # A real refusal to write, by the system: no file may grow beyond 100 bytes.
        "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
    ],
    ids=["no space", "no writing"],
)
def test_a_full_disk(tmp_path, body):
    write_nyud_v2(tmp_path / "NYUDv2", train=4, val=2, image_size=SIZE)
    data = tmp_path / "data"
    done = run(body, BUILDERS / "nyud_v2", "--manual_dir", tmp_path, "--data_dir", data)
    assert done.returncode == 1
    message = "Not prepared, and nothing is left half-written: "  # among the progress bars
    assert any(line.startswith(message) for line in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr
    assert not left_in(data)


def test_already_prepared_is_left_alone(kind, manual, prepared):
    before = {file: file.stat().st_mtime_ns for file in prepared.iterdir()}
    assert prepare(BUILDERS / kind, manual, prepared.parents[1]) == prepared
    assert {file: file.stat().st_mtime_ns for file in prepared.iterdir()} == before
