"""Generated rooms, and streets, in the exact layouts of the public archives.

    python -m keras_mtl.data.room_archives nyud_v2 NYUDv2 --train 20 --val 10

Image i of the archive (ids count from 1, training images first) is `rooms.render(seed, image_size,
index=i - 1)`; of Cityscapes see `streets`. What reads the public archives reads these, and can be
tried and tested on them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from keras_mtl import rooms
from keras_mtl.data.archives import nyud_v2, pascal_context
from keras_mtl.data.archives.streets import write_cityscapes_3d
from keras_mtl.data.archives.writing import write_archive
from keras_mtl.tasks import NYUD_CLASSES, PASCAL_CLASSES, SemanticSegmentation

# Names of PASCAL-Part for the rooms' parts: the left half of a part gets the first.
_PART_NAMES = {
    1: ("head", "hair"), 2: ("torso", "neck"), 3: ("luarm", "ruarm"), 4: ("llarm", "rhand"),
    5: ("luleg", "ruleg"), 6: ("llleg", "rfoot"),
}  # fmt: skip
_OBJECT = [("class", object), ("class_ind", object), ("mask", object), ("parts", object)]
_PART = [("part_name", object), ("mask", object)]
# Through a window or in a mirror a network for normals sees something else.
_WITHOUT_NORMALS = [NYUD_CLASSES.index(name) for name in ("window", "mirror")]


def write_nyud_v2(
    directory,
    train: int,
    val: int,
    image_size: tuple[int, int] = (425, 560),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Writes rooms in the layout of the archive `NYUDv2` (see `nyud_v2`).

    Args:
        directory: folder to create; it takes that name only when everything is written.
        train: number of training images.
        val: number of validation images.
        image_size: (height, width) in pixels.
        seed: see `rooms.render`.
        progress: whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder exists.
        ValueError: if a number or the size is not positive.

    Example:

    >>> root = write_nyud_v2("NYUDv2", train=2, val=1, image_size=(24, 32))
    >>> sorted(path.name for path in root.iterdir())
    ['depth', 'edge', 'gt_sets', 'images', 'normals', 'segmentation']
    """
    return write_archive(
        nyud_v2.LAYOUT,
        lambda split, number: f"{number + 1:04d}",
        lambda number, path: _nyud_v2_files(rooms.render(seed, image_size, index=number), path),
        directory, train, val, progress,
    )  # fmt: skip


def write_pascal_context(
    directory,
    train: int,
    val: int,
    image_size: tuple[int, int] = (375, 500),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Writes rooms in the layout of the archive `PASCALContext` (see `pascal_context`).

    Every second image has its classes in `semseg/VOC12`, the others in `semseg/pascal-context`.
    A LabelMap gives each thing a class of its own, so that boundaries lie between all things
    that meet: one with valid normals, for windows and mirrors one without. What it is called in
    PASCAL-Context does not matter here.

    Args:
        directory, train, val, image_size, seed, progress: see `write_nyud_v2`.

    Returns:
        The folder.

    Raises:
        FileExistsError, ValueError: see `write_nyud_v2`.

    Example:

    >>> root = write_pascal_context("PASCALContext", train=2, val=1, image_size=(24, 32))
    >>> sorted(path.name for path in (root / "semseg").iterdir())
    ['VOC12', 'pascal-context']
    """
    return write_archive(
        pascal_context.LAYOUT,
        lambda split, number: f"2008_{number + 1:06d}",
        lambda number, path: _pascal_context_files(
            rooms.render(seed, image_size, index=number), number, path
        ),
        directory, train, val, progress,
    )  # fmt: skip


def _nyud_v2_files(scene: dict, path: Callable[[str], Path]) -> None:
    files = {part: path(names[0]) for part, names in nyud_v2.LAYOUT.files.items()}
    _save(scene["image"], files["image"])
    _save(scene["nyud_semseg"] + 1, files["semseg"])
    np.save(files["depth"], scene["depth"][..., 0])
    _save(_eight_bits(scene["normals"]), files["normals"])
    _save(scene["edge"][..., 0] * 255, files["edge"])


def _pascal_context_files(scene: dict, number: int, path: Callable[[str], Path]) -> None:
    layout = pascal_context.LAYOUT
    files = {part: path(names[0]) for part, names in layout.files.items()}
    files["semseg"] = path(layout.files["semseg"][number % 2])
    Image.fromarray(scene["image"]).save(files["image"], quality=95)
    classes = Image.fromarray(scene["pascal_semseg"].astype(np.uint8))
    classes.putpalette(SemanticSegmentation(channels=255).palette.tobytes())  # makes it mode P
    classes.save(files["semseg"])
    _save(scene["sal"] * 255, files["sal"])
    _save(_eight_bits(scene["normals"]), files["normals"])
    _save_matlab(files["label_map"], {"LabelMap": _label_map(scene)})
    anno = {"imname": files["image"].stem, "objects": _objects(scene)}
    _save_matlab(files["human_parts"], {"anno": anno})


def _label_map(scene: dict) -> np.ndarray:
    """A context class for each thing, uint16 (H, W)."""
    valid = np.array(pascal_context.NORMALS_CLASSES, np.uint16)
    every = np.arange(1, pascal_context.CONTEXT_CLASSES + 1, dtype=np.uint16)
    invalid = np.setdiff1d(every, valid)
    things = scene["instances"]
    without = np.isin(scene["nyud_semseg"], _WITHOUT_NORMALS)
    return np.where(without, invalid[things % len(invalid)], valid[things % len(valid)])


def _objects(scene: dict) -> np.ndarray:
    """The things of PASCAL's classes, a structure array (1, N) as in PASCAL-Part."""
    found = []
    for thing in np.unique(scene["instances"][scene["pascal_semseg"] > 0]):
        mask = scene["instances"] == thing
        number = int(scene["pascal_semseg"][mask][0])
        parts = _parts(scene["human_parts"], mask) if number == pascal_context.PERSON else []
        # MATLAB's empty list has no fields and no rows.
        parts = np.array([parts], _PART) if parts else np.zeros((0, 0))
        found.append((PASCAL_CLASSES[number], number, mask.astype(np.uint8), parts))
    objects = np.zeros((1, len(found)), _OBJECT)
    for k, entry in enumerate(found):
        objects[0, k] = entry
    return objects


def _parts(human_parts: np.ndarray, person: np.ndarray) -> list[tuple[str, np.ndarray]]:
    found = []
    for number, names in _PART_NAMES.items():
        mask = person & (human_parts == number)
        if not mask.any():
            continue
        left = mask & (np.arange(mask.shape[1]) <= np.median(np.nonzero(mask)[1]))
        for name, half in zip(names, (left, mask & ~left), strict=True):
            if half.any():
                found.append((name, half.astype(np.uint8)))
    return found


def _eight_bits(normals: np.ndarray) -> np.ndarray:
    return np.round((normals + 1) * 127.5)


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _save_matlab(path: Path, variables: dict) -> None:
    with open(path, "wb") as stream:
        scipy.io.savemat(stream, variables, do_compression=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.data.room_archives",
        description="Writes generated rooms in the exact layout of the archive NYUDv2 or "
        "PASCALContext, or generated streets in that of Cityscapes, to try and test what reads the "
        "public archives.",
    )
    writers: dict[str, Callable] = {
        "nyud_v2": write_nyud_v2,
        "pascal_context": write_pascal_context,
        "cityscapes_3d": write_cityscapes_3d,
    }
    parser.add_argument("dataset", choices=writers)
    parser.add_argument("directory", help="folder to create, for instance NYUDv2")
    parser.add_argument("--train", type=int, default=20, help="training images (default 20)")
    parser.add_argument("--val", type=int, default=10, help="validation images (default 10)")
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (default 425 560 for nyud_v2, 375 500 for pascal_context, 128 256 for "
        "cityscapes_3d)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed, other scenes (default 0)"
    )
    given = parser.parse_args(arguments)
    size = {"image_size": tuple(given.image_size)} if given.image_size else {}
    try:
        root = writers[given.dataset](
            given.directory, given.train, given.val, seed=given.seed, progress=True, **size
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(root)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
