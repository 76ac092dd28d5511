"""Prepares a folder of your own images and labels for training, `examples/prepare_folder.py`.

`prepare_folder.py --help` says what the folder holds, docs/data.md which files are read, and how.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from tqdm import tqdm

from keras_mtl import tasks
from keras_mtl.data.depth_units import depth_units
from keras_mtl.data.folder_labels import MASKS, FolderLabels
from keras_mtl.data.label_files import by_name
from keras_mtl.data.normals_axes import normals_axes as axes_named
from keras_mtl.data.prepared_folder import folder_of, written
from keras_mtl.data.stored_images import to_store
from keras_mtl.files import NotWritten
from keras_mtl.pictures import endings, size_tells_turn

COUNTED = tasks.SemanticSegmentation()  # the task of which any number of classes may be there
TASKS = {task.name: task for task in (*tasks.pascal_context(), *tasks.nyud(), COUNTED)}


def prepare_folder(
    folder: str | Path,
    output: str | Path,
    name: str,
    version: str = "1.0.0",
    val_share: float = 0.1,
    val_list: str | Path | None = None,
    overwrite: bool = False,
    depth_scale: float | str | None = None,
    normals_axes: Sequence[str] | None = None,
) -> Path:
    """Prepares a folder of images and labels as a dataset that `keras_mtl.data.load` reads.

    Args:
        folder: the images, and the labels of each task.
        output: folder of prepared datasets to write to.
        name: of the dataset.
        version: of the dataset.
        val_share: share of the images to validate on, evenly spread.
        val_list: file with the names, without ending, of the images to validate on instead.
        overwrite: replace this version of the dataset, once the new one is whole.
        depth_scale: how many units of stored depth make a metre, or a dataset as which it is
            stored: `"tum"`, `"scannet"`, `"sunrgbd"`, `"kitti"`, `"diode"` or `"hypersim"`.
        normals_axes: where x, y and z of stored normals point: one of `"right"` or `"left"`, one of
            `"down"` or `"up"`, one of `"forward"` or `"toward"` (the camera), in their order.

    Returns:
        The folder of the prepared dataset.

    Raises:
        ValueError: if a file is broken or does not fit, with its path, or an argument is wrong.
        OSError: if the disk is full, for instance, or another process writes this dataset.
        ImportError: if there are files of OpenEXR, and what reads them is not installed.
    """
    folder, target = Path(folder), folder_of(output, name, version)
    if not 0 <= val_share <= 1:
        raise ValueError(f"val_share is {val_share}; expected a share from 0 to 1, such as 0.1.")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; pass --overwrite to replace it, or another --version.")
    images = _images(folder)
    labels = _labels(folder, depth_scale, normals_axes)
    for each in labels.values():
        if strangers := sorted(each.files.keys() - images.keys()):
            raise ValueError(
                f"{each.files[strangers[0]]} has no image in {folder}/images; add it or remove it."
            )
        each.look()

    def examples(stems, split):
        for stem in tqdm(stems, desc=split, unit="image"):
            image, size = to_store(images[stem])
            read = {name: each.read(stem, *size) for name, each in labels.items()}
            yield stem, {"image": image, "id": stem, **read}

    features = {"image": tfds.features.Image(shape=(None, None, 3)), "id": tfds.features.Text()}
    features |= {name: each.feature for name, each in labels.items()}
    splits = _splits(images, val_share, val_list)
    about = f"Images and labels of {folder}."
    if depth_scale is not None:
        about += f" Depth was stored with the scale {depth_scale}."
    if normals_axes is not None:
        about += f" Normals were stored with the axes {' '.join(normals_axes)}."
    with written(target, replace=overwrite) as fresh:
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=version,
            data_dir=fresh.parent,
            description=about,
            features=tfds.features.FeaturesDict(features),
            split_datasets={split: examples(stems, split) for split, stems in splits.items()},
        )
        (fresh.parent / name / version).rename(fresh)
        for each in labels.values():
            each.check_something_is_labelled()
    _say_what_is_turned(images)
    for each in labels.values():
        print("\n".join(each.report(len(images))))
    return target


def _images(folder: Path) -> dict[str, Path]:
    """The photographs by their names."""
    images, others = by_name(folder / "images", endings())
    if not images:
        raise ValueError(f"{folder}/images holds no image file; put the images there.")
    if others:
        print(f"images: files that are not read: {len(others)}, such as {others[0]}.")
    return images


def _say_what_is_turned(images: dict[str, Path]) -> None:
    turned = [path for path in images.values() if not size_tells_turn(path)]
    if turned:
        print(
            f"images: {len(turned)} are turned upright by EXIF, such as {turned[0]}, and their "
            "size does not tell whether their labels are upright too; look at some."
        )


def _labels(folder: Path, depth_scale, normals_axes) -> dict[str, FolderLabels]:
    """The labels of each task that has a folder."""
    units = None if depth_scale is None else depth_units(depth_scale)
    axes = None if normals_axes is None else axes_named(normals_axes)
    labels = {
        name: FolderLabels(task, folder / name, task is COUNTED, units, axes)
        for name, task in TASKS.items()
        if (folder / name).is_dir()
    }
    if not labels:
        raise ValueError(f"{folder} has no folder of labels; name one {', '.join(TASKS)}.")
    read = {"images", *labels, *(name + MASKS for name in labels)}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in read and path.name[0] != ".":
            print(f"{path} is not read: its name is that of no task ({', '.join(TASKS)}).")
    return labels


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


def run(options: argparse.Namespace) -> None:
    """Prepares, and says where.

    Args:
        options: of the script, by the names of `prepare_folder`'s arguments.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    try:
        target = prepare_folder(**vars(options))
    except (ValueError, ImportError, NotWritten) as error:
        sys.exit(str(error))
    print(f"Wrote {target}")
