"""Cityscapes with boxes in space: how one image and its labels are read.

leftImg8bit/<split>/<city>/<id>_leftImg8bit.png     RGB
gtFine/<split>/<city>/<id>_gtFine_labelIds.png      ids 0..33 of the 34 annotated classes
disparity/<split>/<city>/<id>_disparity.png         16 bits, d = (p - 1) / 256 pixels, 0 = invalid
camera/<split>/<city>/<id>_camera.json              baseline in metres, focal length in pixels
gtBbox3d/<split>/<city>/<id>_gtBbox3d.json          camera, boxes, regions without annotation

These folders, or the zips that the dataset is published in (leftImg8bit_trainvaltest.zip and so
on), lie in one folder. Nobody lists the images of a split: they are those that its folders hold.
"""

import io
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.boxes3d.labels import label_arrays
from keras_mtl.data.archives import decoding, layout
from keras_mtl.metrics.detection3d.files import BrokenFile, Truth, read_truth
from keras_mtl.pictures import PictureError, open_picture

LAYOUT = layout.Layout(
    name="cityscapes",
    splits={"train": 2975, "val": 500},
    split_file="leftImg8bit/{}",
    files={
        "image": ("leftImg8bit/{}_leftImg8bit.png",),
        "semseg": ("gtFine/{}_gtFine_labelIds.png",),
        "disparity": ("disparity/{}_disparity.png",),
        "camera": ("camera/{}_camera.json",),
        "boxes": ("gtBbox3d/{}_gtBbox3d.json",),
    },
    needs={
        "semseg": ("semseg",),
        "disparity": ("disparity",),
        "depth": ("disparity", "camera"),
        "detection3d": ("boxes",),
    },
    image_size=(1024, 2048),
    listed=False,
)
SPLITS = LAYOUT.splits
TASKS = tuple(LAYOUT.needs)
# Ids in the archive of the 19 classes that are scored, in the order of these.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NO_LABEL, NO_DISPARITY = 255, -1.0
MOST_BOXES = (100, 50)  # boxes and regions without annotation of an image
_LARGEST_ID = 33
_CLASS_OF = np.full(256, NO_LABEL, np.uint8)
_CLASS_OF[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))


class Stereo(NamedTuple):
    """What turns disparity into depth.

    Args:
        baseline: metres between the two cameras.
        focal: focal length in pixels.
    """

    baseline: float
    focal: float


class Annotation(NamedTuple):
    """Boxes of an image.

    Args:
        truth: the boxes and the camera.
        shape: (height, width) of the image that the file is about.
    """

    truth: Truth
    shape: tuple[int, int]


def image_ids(root: Path, split: str) -> list[str]:
    """Image ids of a split, sorted.

    Args:
        root: the folder that holds the archive's folders or zips.
        split: "train" or "val".

    Raises:
        ArchiveError: if there is none.
    """
    return layout.image_ids(LAYOUT, root, split)


def lacking(root: Path) -> list[str]:
    """Tasks whose whole folder is absent or empty: the archive is a partial copy.

    Args:
        root: the folder that holds the archive's folders or zips.
    """
    return layout.lacking(LAYOUT, root)


def decode(part: str, data: bytes, file: str) -> Any:
    """Reads and checks one file.

    Args:
        part: what the file holds, one of `LAYOUT.files`.
        data: its bytes.
        file: its name, for messages.

    Returns:
        "image" uint8 (H, W, 3); "semseg" uint8 (H, W), see `read`; "disparity" float32 (H, W),
        pixels, see `read`; "camera" a `Stereo`; "boxes" an `Annotation`.

    Raises:
        ArchiveError: if the file is broken or holds wrong values.
    """
    if part == "image":
        return decoding.picture(data, file, decoding.IMAGE_MODES)
    if part == "semseg":
        stored = decoding.picture(data, file, ("L",))
        wrong = stored[(stored > _LARGEST_ID) & (stored != NO_LABEL)]
        decoding.check_values(wrong, file, f"ids from 0 to {_LARGEST_ID}")
        return _CLASS_OF[stored]
    if part == "disparity":
        return _disparity(data, file)
    if part == "camera":
        return _stereo(data, file)
    try:
        truth = read_truth(data, file)
    except BrokenFile as error:
        raise decoding.ArchiveError(str(error)) from None
    return Annotation(truth, truth.image_size)


def _disparity(data: bytes, file: str) -> np.ndarray:
    try:
        with open_picture(io.BytesIO(data), file) as image:
            mode, stored = image.mode, np.asarray(image)
    except PictureError as error:
        raise decoding.unreadable(file, "a 16-bit PNG of disparities", error.reason) from None
    if not mode.startswith("I") or stored.ndim != 2:
        raise decoding.ArchiveError(
            f"{file} has mode {mode}, expected a 16-bit PNG of disparities; get an intact copy of "
            "it."
        )
    pixels = (stored.astype(np.float32) - 1) / 256
    return np.where(pixels > 0, pixels, np.float32(NO_DISPARITY))


def _stereo(data: bytes, file: str) -> Stereo:
    expected = '{"extrinsic": {"baseline": metres, ...}, "intrinsic": {"fx": pixels, ...}}'
    try:
        content = json.loads(data)
        found = Stereo(content["extrinsic"]["baseline"], content["intrinsic"]["fx"])
    except (ValueError, RecursionError, TypeError, KeyError, IndexError) as error:
        lack = f"it has no {error}" if isinstance(error, KeyError) else error
        raise decoding.unreadable(file, expected, str(lack)) from None
    for name, value in (("extrinsic.baseline", found.baseline), ("intrinsic.fx", found.focal)):
        if type(value) not in (int, float) or not 0 < value < 1e6:
            raise decoding.ArchiveError(
                f"{file} has the {name} {value!r:.40}, expected a number above 0; get an intact "
                "copy of it."
            )
    return found


def metres(disparity: np.ndarray, stereo: Stereo) -> np.ndarray:
    """Depth along the optical axis, 0 where there is no disparity.

    Args:
        disparity: float32, pixels.
        stereo: of the camera.

    Example:

    >>> metres(np.array([[2.0, -1.0]], "float32"), Stereo(0.2, 100.0)).tolist()
    [[10.0, 0.0]]
    """
    known = disparity > 0
    depth = stereo.baseline * stereo.focal / np.where(known, disparity, 1)
    return np.where(known, depth, 0).astype(np.float32)


def read(root: Path, image_id: str) -> dict[str, Any]:
    """One image with its labels.

    Args:
        root: the folder that holds the archive's folders or zips.
        image_id: see `image_ids`.

    Returns:
        "image" uint8 (H, W, 3) RGB, and of the tasks that the archive does not lack:
        "semseg" uint8 (H, W), 0..18, and 255 = no label;
        "disparity" float32 (H, W), pixels, -1 = no label;
        "depth" float32 (H, W), metres, 0 = no label;
        "detection3d" a dict of arrays, see `keras_mtl.tasks.Detection3D`; boxes whose center is
        not in front of the camera are left out.

    Raises:
        ArchiveError: if a file is missing or wrong; the message names it.
    """
    parts = layout.read_parts(LAYOUT, decode, root, image_id)
    found = {name: parts[name] for name in ("image", "semseg", "disparity") if name in parts}
    if "camera" in parts:
        found["depth"] = metres(parts["disparity"], parts["camera"])
    if "boxes" in parts:
        found["detection3d"] = _label(parts["boxes"].truth)
    return found


def _label(truth: Truth) -> dict[str, np.ndarray]:
    ahead = truth.sensor.to_sensor(truth.boxes.center)[:, 2] > 0
    b = truth.boxes.take(ahead)
    return label_arrays(
        truth.sensor, b.label, b.center, b.size, b.rotation, b.modal, truth.ignore, MOST_BOXES
    )


def name_of(image_id: str) -> str:
    """What files of predictions begin with, such as "aachen_000000_000019".

    Example:

    >>> name_of("train/aachen/aachen_000000_000019")
    'aachen_000000_000019'
    """
    return PurePosixPath(image_id).name
