"""Generated streets in the layout of Cityscapes with boxes in space.

Image i of the archive (counted from 0, training images first) is `rooms.streets.render(seed,
image_size, index=i)`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from keras_mtl.data.archives import cityscapes_3d
from keras_mtl.data.archives.writing import write_archive
from keras_mtl.metrics.detection3d.files import write_boxes
from keras_mtl.rooms import streets
from keras_mtl.rooms.streets.scenes import BASELINE


def write_cityscapes_3d(
    directory,
    train: int,
    val: int,
    image_size: tuple[int, int] = (128, 256),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Writes streets in the layout of Cityscapes (see `cityscapes_3d`).

    Args:
        directory: folder to create; it takes that name only when everything is written.
        train: number of training images.
        val: number of validation images.
        image_size: (height, width) in pixels.
        seed: see `rooms.streets.render`.
        progress: whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder exists.
        ValueError: if a number or the size is not positive.

    Example:

    >>> root = write_cityscapes_3d("cityscapes", train=2, val=1, image_size=(32, 64))
    >>> sorted(path.name for path in root.iterdir())
    ['camera', 'disparity', 'gtBbox3d', 'gtFine', 'leftImg8bit']
    >>> cityscapes_3d.image_ids(root, "val")
    ['val/streets/streets_000000_000002']
    """
    return write_archive(
        cityscapes_3d.LAYOUT,
        lambda split, number: f"{split}/streets/streets_000000_{number:06d}",
        lambda number, path: _write_image(streets.render(seed, image_size, number), path),
        directory, train, val, progress,
    )  # fmt: skip


def _write_image(scene: dict, path: Callable[[str], Path]) -> None:
    files = {part: path(names[0]) for part, names in cityscapes_3d.LAYOUT.files.items()}
    sensor = scene["sensor"]
    Image.fromarray(scene["image"]).save(files["image"])
    Image.fromarray(scene["label_ids"]).save(files["semseg"])
    disparity = scene["disparity"][..., 0]
    stored = np.where(disparity > 0, np.round(disparity * 256 + 1).clip(0, 65535), 0)
    Image.fromarray(stored.astype(np.uint16)).save(files["disparity"])
    where = dict(zip("xyz", sensor.to_vehicle(np.zeros(3)).tolist(), strict=True))
    (fx, _, u0), (_, fy, v0), _ = sensor.camera.tolist()
    lens = {"fx": fx, "fy": fy, "u0": u0, "v0": v0}
    content = {"extrinsic": {"baseline": BASELINE, **where}, "intrinsic": lens}
    files["camera"].write_text(json.dumps(content))
    size = scene["image"].shape[:2]
    write_boxes(files["boxes"], scene["boxes"], sensor, scene["ignore"], size)
