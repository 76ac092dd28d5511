"""Prepares a folder of your own images and labels for training.

The folder holds the images, and for each task a folder with labels of the same name:

    FOLDER/images/kitchen_1.jpg        a photograph of any format and size, read upright
    FOLDER/semseg/kitchen_1.png        8 bit: class ids from 0 on; 255 = no label
    FOLDER/human_parts/                8 bit, likewise
    FOLDER/sal/kitchen_1.png           8 bit: 1 on salient objects, else 0; 255 = no label
    FOLDER/edge/kitchen_1.png          8 bit: 1 on boundaries, else 0; 255 = no label
    FOLDER/depth/kitchen_1.npy         metres; 0 = no label
    FOLDER/normals/kitchen_1.npy       unit vectors (x right, y down, z forward); 0 = no label,
    FOLDER/normals/kitchen_1.png       or 8-bit RGB, n = 2 v / 255 - 1; black = no label

Labels have the height and width of their image, upright. An image may lack some of them: it is then
used for the other tasks only. The result is read by its folder or name:

    python examples/prepare_folder.py photographs --name my_rooms --output prepared
    python examples/train_nyud.py --data prepared/my_rooms

    keras_mtl.data.load("prepared/my_rooms", "train", tasks=tasks, image_size=(448, 576))
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from keras_mtl import tasks
from keras_mtl.data.stored_images import to_store
from keras_mtl.files import whole_folder
from keras_mtl.pictures import PictureError, endings, open_picture
from keras_mtl.tasks import Task

TASKS = {task.name: task for task in (*tasks.nyud(), *tasks.pascal_context())}
TASKS["semseg"] = tasks.SemanticSegmentation(channels=255)  # as many as there are


def prepare_folder(
    folder: str | Path,
    output: str | Path,
    name: str,
    version: str = "1.0.0",
    val_share: float = 0.1,
    val_list: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Prepares a folder of images and labels as a dataset that `keras_mtl.data.load` reads.

    Args:
        folder: the images, and the labels of each task, as above.
        output: folder of prepared datasets to write to.
        name: of the dataset.
        version: of the dataset.
        val_share: share of the images to validate on, evenly spread.
        val_list: file with the names, without ending, of the images to validate on instead.
        overwrite: replace this version of the dataset, once the new one is whole.

    Returns:
        The folder of the prepared dataset.

    Raises:
        ValueError: if a file is broken or does not fit, with its path.
    """
    folder, target = Path(folder), Path(output) / name / version
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; pass --overwrite to replace it, or another --version.")
    images, labels = _found(folder)
    kinds = {name: _kind(files) for name, files in labels.items()}

    def examples(stems, split):
        for stem in tqdm(stems, desc=split, unit="image"):
            image, (height, width) = to_store(images[stem])
            example = {"image": image, "id": stem}
            for name, files in labels.items():
                example[name] = _label(TASKS[name], files.get(stem), kinds[name], height, width)
            yield stem, example

    features = {"image": tfds.features.Image(shape=(None, None, 3)), "id": tfds.features.Text()}
    for task, kind in kinds.items():
        features[task] = _feature(TASKS[task], kind)
    splits = _splits(images, val_share, val_list)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_folder(target, replace=overwrite) as fresh:
            tfds.dataset_builders.store_as_tfds_dataset(
                name=name,
                version=version,
                data_dir=fresh.parent,
                description=f"Images and labels of {folder}.",
                features=tfds.features.FeaturesDict(features),
                split_datasets={split: examples(stems, split) for split, stems in splits.items()},
            )
            (fresh.parent / name / version).rename(fresh)
    except BaseException:
        with contextlib.suppress(OSError):  # of other versions, which stay
            target.parent.rmdir()
        raise
    return target


def _found(folder: Path) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """The files of the images, and those of each task's labels, by their names."""
    images = _by_name(folder / "images", endings())
    if not images:
        raise ValueError(f"{folder}/images holds no image file; put the images there.")
    labels = {
        name: _by_name(folder / name, (".npy", ".png"))
        for name in TASKS
        if (folder / name).is_dir()
    }
    if not labels:
        raise ValueError(f"{folder} has no folder of labels; name one {', '.join(TASKS)}.")
    for name, files in labels.items():
        if strangers := sorted(files.keys() - images.keys()):
            raise ValueError(
                f"{files[strangers[0]]} has no image in {folder}/images; add it or remove it."
            )
        _check_files(TASKS[name], files)
        print(f"{name}: {len(files)} of {len(images)} images have a label")
    return images, labels


def _by_name(folder: Path, endings) -> dict[str, Path]:
    """The files of a folder by their names without ending."""
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in endings:
            if path.stem in files:
                raise ValueError(
                    f"{files[path.stem]} and {path} have the same name; keep one of them."
                )
            files[path.stem] = path
    return files


def _check_files(task: Task, files: dict[str, Path]) -> None:
    """Refuses what no single file of a task shows, or nothing in it."""
    if task.measured_in:
        for path in files.values():
            if path.suffix != ".npy":
                raise ValueError(
                    f"{path} is an image, which holds no {task.measured_in}; store "
                    f"{task.measured_in} as .npy."
                )
    if task.label_values:
        *others, yes = task.label_values
        values = set()
        for path in files.values():
            values |= set(np.unique(_read(path)).tolist())
            if yes in values:
                return
        if {*others, task.ignore} <= values:
            said = " and ".join(map(str, [*others, task.ignore]))
            raise ValueError(
                f"{path.parent} holds the values {said} and never {yes}; write {yes} for yes: "
                f"{task.ignore} means no label."
            )


def _read(path: Path) -> np.ndarray:
    """The array of a label's file."""
    try:
        if path.suffix == ".npy":
            return np.load(path)
        with open_picture(path) as image:  # not as RGB: a palette's numbers are the classes
            return np.asarray(image)
    except PictureError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}); replace it or remove it.") from None


def _kind(files):
    """What a task's labels are stored as: float32 if any of them is an .npy file."""
    return np.float32 if any(p.suffix == ".npy" for p in files.values()) else np.uint8


def _feature(task, kind):
    shape = (None, None, task.label_channels or 1)
    if kind == np.uint8:
        return tfds.features.Image(shape=shape, encoding_format="png")
    return tfds.features.Tensor(shape=shape, dtype=kind, encoding=tfds.features.Encoding.ZLIB)


def _label(task, path, kind, height, width):
    """A label `(H, W, c)`, checked; where there is no file, one that says nothing."""
    shape = (height, width, task.label_channels or 1)
    if path is None:
        return np.full(shape, task.ignore, kind)
    label = _read(path)
    if label.shape[:2] != shape[:2] or label.size != np.prod(shape):
        raise ValueError(
            f"{path} has shape {label.shape}; expected {shape}, the size of its image."
        )
    label = label.reshape(shape)
    if kind == np.float32 and path.suffix != ".npy":
        raise ValueError(f"{path} is a picture among .npy files; store all labels of a task alike.")
    try:
        if not (task.label_channels == 3 and kind == np.uint8):  # any colour is a direction
            task.check_labels(label.reshape(1, *task.label_shape(height, width)), height, width)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if kind == np.uint8 and label.size and not 0 <= label.min() <= label.max() <= 255:
        raise ValueError(f"{path} holds values up to {label.max()}; expected 8 bit, 0 to 255.")
    return label.astype(kind)


def _splits(images, val_share, val_list) -> dict[str, list[str]]:
    """Names of the images to train on and of those to validate on."""
    stems = sorted(images)
    if val_list:
        try:
            held_out = set(Path(val_list).read_text().split())
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{val_list} cannot be read ({error}); pass a text file of names."
            ) from None
        if unknown := sorted(held_out - images.keys()):
            raise ValueError(f"{val_list} names {unknown[0]}, which is no image; correct the list.")
    else:
        count = max(1, round(val_share * len(stems)))
        held_out = {stems[i * len(stems) // count] for i in range(count)}
    splits = {
        "train": [stem for stem in stems if stem not in held_out],
        "val": [stem for stem in stems if stem in held_out],
    }
    for split, members in splits.items():
        if not members:
            raise ValueError(f"No image is left for {split!r}; hold out others.")
    return splits


# === Command line ===


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        arguments: list of str. By default those of the running script.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    options = _arguments(arguments)
    try:
        target = prepare_folder(**vars(options))
    except ValueError as error:
        sys.exit(str(error))
    print(f"Wrote {target}")


def _arguments(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder with images/ and labels")
    parser.add_argument("--name", required=True, help="of the dataset, such as my_rooms")
    parser.add_argument("--version", default="1.0.0", help="of the dataset (default 1.0.0)")
    parser.add_argument(
        "--output", default="prepared", help="folder to write to (default prepared)"
    )
    share = "share of the images to validate on, evenly spread (default 0.1)"
    parser.add_argument("--val-share", type=float, default=0.1, metavar="SHARE", help=share)
    names = "file with the names (without ending) of the images to validate on, instead"
    parser.add_argument("--val-list", metavar="FILE", help=names)
    text = "replace this version of the dataset, once the new one is whole"
    parser.add_argument("--overwrite", action="store_true", help=text)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
