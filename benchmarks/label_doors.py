"""Which door refuses, converts or warns of which encoding of labels that others use.

    KERAS_BACKEND=torch python -m benchmarks.label_doors

Labels of two rooms are stored as others store them and given to every door. A cell says what came
of it: "refused" in a sentence, "warned", "converted", or "as it is", which is right for the last
encodings of a task alone: they say the same in another number type. Any other cell, or another
encoding that is taken as it is, makes the exit status 1.
"""

import contextlib
import io
import sys
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

import keras_mtl
from keras_mtl.tables import markdown

SIZE = (32, 48)
NAMES = ("semseg", "depth", "normals", "edge", "sal")


def _void(value):
    """Labels of which the upper rows are what others write where there is no label."""

    def change(label):
        label = label.astype("float32")
        label[:, :8] = value
        return label

    return change


def _ids_from_1(label):
    label = label + 1
    label[0, 0, 0] = 40
    return label


def _mask(label):
    return 255 * (label == label.max()).astype(label.dtype)


def _grey_border(label):
    label = label.copy()
    label[:, :8] = 2 * np.array([128, 127, 128], "float32") / 255 - 1
    return label


# What others store, by task, made of what belongs there.
ENCODINGS = {
    "semseg": {
        "0 and 255": _mask,
        "from 1": _ids_from_1,
        "-1 as void": _void(-1),
        "65535 as void": _void(65535),
        "NaN as void": _void(np.nan),
        "ids out of range": lambda label: np.where(label == label.max(), 77, label),
        "class and instance": lambda label: label * 1000 + 1,
        "shares": lambda label: label * 0.37,
        "colours": lambda label: np.stack([label, label, label], axis=-1),
        "one-hot": lambda label: np.eye(40, dtype="float32")[label],
        "floats": lambda label: label.astype("float64"),
        "64 bits": lambda label: label.astype("int64"),
    },
    "depth": {
        "millimetres": lambda label: 1000 * label,
        "centimetres": lambda label: 100 * label,
        "millimetres and noise": lambda label: np.where(
            np.arange(SIZE[1])[:, None] < 2, 35.0, 1000 * label
        ),
        "65535 as void": _void(65535.0),
        "655.35 as void": _void(655.35),
        "NaN as void": _void(np.nan),
        "infinity as void": _void(np.inf),
        "-1 as void": _void(-1.0),
        "8-bit grey": lambda label: np.floor(255 * label / label.max()),
        "scaled to 0..1": lambda label: label / label.max(),
        "backwards": lambda label: -label,
        "-9999 as void": _void(-9999.0),
        "3.4e38 as void": _void(np.finfo("float32").max),
        "colours": lambda label: np.repeat(label, 3, axis=-1),
        "16-bit floats": lambda label: label.astype("float16"),
    },
    "normals": {
        "grey as void": _grey_border,
        "colours in 0..1": lambda label: (label + 1) / 2,
        "8-bit colours": lambda label: np.round(255 * (label + 1) / 2),
        "16-bit colours": lambda label: np.round(65535 * (label + 1) / 2),
        "other lengths": lambda label: 3 * label,
        "away from the camera": lambda label: label * np.array([1, 1, -1], "float32"),
        "exchanged axes": lambda label: label[..., ::-1].copy(),
        "(0, 0, 1) as void": _void((0, 0, 1)),
        "NaN as void": _void(np.nan),
        "channels first": lambda label: np.moveaxis(label, -1, 1),
        "doubles": lambda label: label.astype("float64"),
    },
    "edge": {
        "0 and 255": _mask,
        "probabilities": lambda label: 0.7 * label,
        "8-bit probabilities": lambda label: np.round(200 * label),
        "-1 as void": _void(-1.0),
        "NaN as void": _void(np.nan),
        "0 on boundaries": lambda label: 1 - label,
        "8 bits": lambda label: label.astype("uint8"),
        "no and yes": lambda label: label == 1,
    },
    "sal": {
        "0 and 255": _mask,
        "probabilities": lambda label: 0.7 * label,
        "8-bit probabilities": lambda label: 200 * label,
        "-1 as void": _void(-1),
        "NaN as void": _void(np.nan),
        "class ids": lambda label: 7 * label,
        "one-hot": lambda label: np.eye(2, dtype="float32")[label],
        "floats": lambda label: label.astype("float32"),
        "no and yes": lambda label: label == 1,
    },
}
SAME = ("floats", "64 bits", "16-bit floats", "doubles", "8 bits", "no and yes")


def rooms():
    """Images and right labels of two rooms, and the tasks."""
    tasks = [*keras_mtl.tasks.nyud(), *keras_mtl.tasks.pascal_context("sal")]
    images, labels = keras_mtl.rooms.arrays(tasks, 2, SIZE)
    return images.astype("float32"), labels, tasks


# === Doors: each takes images and labels of a model ===


def _arrays(model, images, labels):
    model.fit(images, labels, batch_size=2, verbose=0)


def _evaluate_arrays(model, images, labels):
    model.evaluate(images, labels, batch_size=2, verbose=0)


def _tf_data(model, images, labels):
    import tensorflow as tf

    model.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(2), verbose=0)


def _evaluate_tf_data(model, images, labels):
    import tensorflow as tf

    model.evaluate(tf.data.Dataset.from_tensor_slices((images, labels)).batch(2), verbose=0)


def _validation(model, images, labels):
    right = {task.name: np.stack([task.no_label(*SIZE)] * 2) for task in model.tasks}
    model.fit(images, right, batch_size=2, validation_data=(images, labels), verbose=0)


def _one_batch(model, images, labels):
    model.train_on_batch(images, labels)


def _lists(model, images, labels):
    model.evaluate(images, {name: label.tolist() for name, label in labels.items()}, verbose=0)


def _generator(model, images, labels):
    def batches():
        while True:
            yield images, labels

    model.fit(batches(), steps_per_epoch=1, verbose=0)


class _Batches(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.batch = images, labels

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def _py_dataset(model, images, labels):
    model.fit(_Batches(images, labels), verbose=0)


def _data_loader(model, images, labels):
    from torch.utils.data import DataLoader

    examples = [
        (image, {name: label[i] for name, label in labels.items()})
        for i, image in enumerate(images)
    ]
    model.fit(DataLoader(examples, batch_size=2), verbose=0)


def _evaluate(model, images, labels):
    keras_mtl.evaluate(model, (images, labels), progress=False)


def _prepare(model, images, labels):
    """As files: arrays, so that nothing is lost on the way there."""
    from PIL import Image

    from keras_mtl.data.folders import prepare_folder

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in ("images", *labels):
            (folder / "mine" / task).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image.astype("uint8")).save(folder / "mine" / "images" / f"{i}.png")
            for task, label in labels.items():
                np.save(folder / "mine" / task / f"{i}.npy", label[i])
        prepare_folder(folder / "mine", folder / "out", "mine")


DOORS = {
    "fit, arrays": _arrays,
    "validation data": _validation,
    "evaluate, arrays": _evaluate_arrays,
    "evaluate, lists": _lists,
    "train_on_batch": _one_batch,
    "fit, tf.data": _tf_data,
    "evaluate, tf.data": _evaluate_tf_data,
    "generator": _generator,
    "PyDataset": _py_dataset,
    "DataLoader": _data_loader,
    "keras_mtl.evaluate": _evaluate,
    "prepare_folder": _prepare,
}
TAKEN = "as it is"


def what_comes_of(door, model, images, labels) -> str:
    """What a door makes of labels: "refused", "converted", "warned", or "as it is"."""
    said = io.StringIO()
    with warnings.catch_warnings(record=True) as seen, contextlib.redirect_stdout(said):
        warnings.simplefilter("always")
        try:
            door(model, images, labels)
        except Exception as error:
            sentence = str(error)
            ours = isinstance(error, ValueError) and sentence.endswith(".")
            return "refused" if ours and "\n" not in sentence else f"error: {sentence[:60]!r}"
    if "became no label" in said.getvalue():
        return "converted"
    texts = [str(each.message) for each in seen] + [said.getvalue()]
    return "warned" if any("this looks like" in text for text in texts) else TAKEN


def is_answer(cell: str, encoding: str) -> bool:
    """Whether a cell is right for an encoding.

    Args:
        cell: what came of it.
        encoding: its name.
    """
    return cell == TAKEN if encoding in SAME else cell in ("refused", "converted", "warned")


def small_model(tasks):
    backbone = keras_mtl.backbones.vision_transformer(
        "nano", (*SIZE, 3), 16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8
    )
    model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
    model.compile("adam")
    return model


def main() -> int:
    images, labels, tasks = rooms()
    rows, wrong = [("task", "encoding", *DOORS)], 0
    for task in tasks:
        model = small_model([task])
        for encoding, change in ENCODINGS[task.name].items():
            found = {task.name: change(labels[task.name])}
            cells = [what_comes_of(door, model, images, found) for door in DOORS.values()]
            wrong += sum(not is_answer(cell, encoding) for cell in cells)
            rows.append((task.name, encoding, *cells))
    print(markdown(rows))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
