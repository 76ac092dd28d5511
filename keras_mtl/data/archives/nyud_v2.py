"""The archive `NYUDv2`: how one image and its labels are read.

NYUDv2/gt_sets/train.txt, val.txt    image ids, one a line
NYUDv2/images/<id>.png               RGB
NYUDv2/segmentation/<id>.png         0 = unlabelled, 1..40 = the classes
NYUDv2/depth/<id>.npy                metres, 0 = invalid
NYUDv2/normals/<id>.png              n = 2 v / 255 - 1, zero length or (0, 0, 0) = invalid
NYUDv2/edge/<id>.png                 boundary = 255
"""

from pathlib import Path

import numpy as np

from keras_mtl.data.archives import decoding, layout
from keras_mtl.tasks import NYUD_CLASSES, DepthEstimation

LAYOUT = layout.Layout(
    name="NYUDv2",
    splits={"train": 795, "val": 654},
    split_file="gt_sets/{}.txt",
    files={
        "image": ("images/{}.png",),
        "semseg": ("segmentation/{}.png",),
        "depth": ("depth/{}.npy",),
        "normals": ("normals/{}.png",),
        "edge": ("edge/{}.png",),
    },
    needs={task: (task,) for task in ("semseg", "depth", "normals", "edge")},
    image_size=(425, 560),
)
SPLITS = LAYOUT.splits
TASKS = tuple(LAYOUT.needs)


def image_ids(root: Path, split: str) -> list[str]:
    """Image ids of a split.

    Args:
        root: the folder `NYUDv2`.
        split: "train" or "val".

    Raises:
        ArchiveError: if the list is missing or empty, or names an image twice.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_nyud_v2
    >>> root = write_nyud_v2("NYUDv2", train=1, val=2, image_size=(24, 32))
    >>> image_ids(root, "val")
    ['0002', '0003']
    """
    return layout.image_ids(LAYOUT, root, split)


def lacking(root: Path) -> list[str]:
    """Tasks whose whole folder is absent or empty: the archive is a partial copy.

    Args:
        root: the folder `NYUDv2`.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_nyud_v2
    >>> root = write_nyud_v2("NYUDv2_rooms", train=1, val=1, image_size=(24, 32))
    >>> _ = (root / "normals").rename("elsewhere")
    >>> lacking(root)
    ['normals']
    """
    return layout.lacking(LAYOUT, root)


def decode(part: str, data: bytes, file: str) -> np.ndarray:
    """Reads and checks one file.

    Args:
        part: what the file holds, one of `LAYOUT.files`.
        data: its bytes.
        file: its name, for messages.

    Returns:
        The array described at `read`.

    Raises:
        ArchiveError: if the file is broken or holds wrong values.
    """
    if part == "image":
        return decoding.picture(data, file, decoding.IMAGE_MODES)
    if part == "semseg":
        stored = decoding.picture(data, file, ("L", "P"))
        wrong = stored[stored > len(NYUD_CLASSES)]
        decoding.check_values(wrong, file, "0 (unlabelled) or a class from 1 to 40")
        return stored - np.uint8(1)  # 0 becomes 255
    if part == "depth":
        return _depth(data, file)
    if part == "normals":
        return decoding.surface_normals(data, file)
    stored = decoding.picture(data, file, ("L",))
    decoding.check_values(stored[(stored > 0) & (stored < 255)], file, "0, or 255 on boundaries")
    return stored // np.uint8(255)


def _depth(data: bytes, file: str) -> np.ndarray:
    depth = decoding.array(data, file)
    if depth.ndim == 3 and depth.shape[-1] == 1:
        depth = depth[..., 0]
    if depth.ndim != 2 or depth.dtype.kind != "f":
        raise decoding.ArchiveError(
            f"{file} has shape {depth.shape} and type {depth.dtype}, expected (height, width) of "
            "floating-point metres; get an intact copy of it."
        )
    wrong = depth[~((depth >= 0) & np.isfinite(depth))]
    decoding.check_values(wrong, file, "metres, and 0 where there is no depth")
    if fault := DepthEstimation().fault(depth[None, ..., None]):  # such as millimetres
        raise decoding.ArchiveError(f"{file}: {fault}")
    return depth.astype(np.float32)


def read(root: Path, image_id: str) -> dict[str, np.ndarray]:
    """One image with its labels.

    Args:
        root: the folder `NYUDv2`.
        image_id: see `image_ids`.

    Returns:
        "image" uint8 (H, W, 3) RGB, and of the tasks that the archive does not lack:
        "semseg" uint8 (H, W), 0..39, and 255 = no label;
        "depth" float32 (H, W), metres, 0 = no label;
        "normals" uint8 (H, W, 3), n = 2 v / 255 - 1, (0, 0, 0) = no label;
        "edge" uint8 (H, W), 1 on boundaries.

    Raises:
        ArchiveError: if a file is missing or wrong; the message names it.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_nyud_v2
    >>> root = write_nyud_v2("NYUDv2_copy", train=1, val=1, image_size=(24, 32))
    >>> labels = read(root, "0001")
    >>> {name: label.shape for name, label in labels.items()}
    {'image': (24, 32, 3), 'semseg': (24, 32), 'depth': (24, 32), 'normals': (24, 32, 3), \
'edge': (24, 32)}
    """
    return layout.read_parts(LAYOUT, decode, root, image_id)
