"""The archive `PASCALContext`: how one image and its labels are read.

    PASCALContext/ImageSets/Context/train.txt, val.txt    image ids, one a line
    PASCALContext/JPEGImages/<id>.jpg                     RGB
    PASCALContext/semseg/VOC12/<id>.png                   palette indices 0..20, 255 = no label
    PASCALContext/semseg/pascal-context/<id>.png          the same, where VOC12 has none
    PASCALContext/pascal-context/trainval/<id>.mat        LabelMap, 459 context classes
    PASCALContext/human_parts/<id>.mat                    anno: objects, their masks and parts
    PASCALContext/normals_distill/<id>.png                n = 2 v / 255 - 1
    PASCALContext/sal_distill/<id>.png                    salient where v / 255 > 0.5

Boundaries are computed from the LabelMap, which also says where the normals hold.
"""

from pathlib import Path

import numpy as np
import scipy.ndimage
from skimage.morphology import thin

from keras_mtl.data.archives import decoding, layout

LAYOUT = layout.Layout(
    name="PASCALContext",
    splits={"train": 4998, "val": 5105},
    split_file="ImageSets/Context/{}.txt",
    files={
        "image": ("JPEGImages/{}.jpg",),
        "semseg": ("semseg/VOC12/{}.png", "semseg/pascal-context/{}.png"),
        "human_parts": ("human_parts/{}.mat",),
        "sal": ("sal_distill/{}.png",),
        "normals": ("normals_distill/{}.png",),
        "label_map": ("pascal-context/trainval/{}.mat",),
    },
    needs={
        "semseg": ("semseg",),
        "human_parts": ("human_parts",),
        "sal": ("sal",),
        "normals": ("normals", "label_map"),
        "edge": ("label_map",),
    },
    image_size=None,
)
SPLITS = LAYOUT.splits
TASKS = tuple(LAYOUT.needs)

PERSON = 15
CONTEXT_CLASSES = 459
PARTS = {
    "head": 1, "hair": 1, "lear": 1, "rear": 1, "lebrow": 1, "rebrow": 1, "leye": 1, "reye": 1,
    "mouth": 1, "nose": 1,
    "neck": 2, "torso": 2,
    "luarm": 3, "ruarm": 3,
    "llarm": 4, "rlarm": 4, "lhand": 4, "rhand": 4,
    "luleg": 5, "ruleg": 5,
    "llleg": 6, "rlleg": 6, "lfoot": 6, "rfoot": 6,
}  # fmt: skip
# Context classes that are also found indoors, as in the data that the normals' teacher was
# trained on; elsewhere its normals mean nothing.
NORMALS_CLASSES = tuple(map(int, """
    3 4 6 9 10 11 13 15 17 18 22 23 29 30 33 34 36 37 38 39 41 43 46 49 50 51 53 55 56 59 61 62
    65 66 68 69 72 73 78 83 84 85 87 88 95 96 101 104 105 107 111 113 115 122 124 135 141 142 143
    146 150 154 157 158 159 165 172 174 181 183 184 191 193 195 197 199 202 213 215 216 219 220
    223 225 228 230 232 233 238 239 242 243 246 250 251 252 255 260 261 263 269 272 273 275 281
    283 284 285 286 287 288 290 291 292 293 295 304 307 309 310 314 315 319 323 329 330 331 336
    342 345 349 350 351 352 355 357 368 370 371 374 379 380 383 384 397 401 403 405 407 408 411
    412 413 414 417 419 421 423 427 429 430 432 440 441 442 443 444 446 454 457
    """.split()))  # fmt: skip


def image_ids(root: Path, split: str) -> list[str]:
    """Image ids of a split.

    Args:
        root: the folder `PASCALContext`.
        split: "train" or "val".

    Raises:
        ArchiveError: if the list is missing or empty, or names an image twice.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_pascal_context
    >>> root = write_pascal_context("PASCALContext", train=1, val=2, image_size=(24, 32))
    >>> image_ids(root, "val")
    ['2008_000002', '2008_000003']
    """
    return layout.image_ids(LAYOUT, root, split)


def lacking(root: Path) -> list[str]:
    """Tasks that have a whole folder absent or empty: the archive is a partial copy.

    Args:
        root: the folder `PASCALContext`.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_pascal_context
    >>> root = write_pascal_context("rooms", train=1, val=1, image_size=(24, 32))
    >>> _ = (root / "pascal-context").rename("elsewhere")
    >>> lacking(root)
    ['normals', 'edge']
    """
    return layout.lacking(LAYOUT, root)


def decode(part: str, data: bytes, file: str) -> np.ndarray | None:
    """Reads and checks one file.

    Args:
        part: what the file holds, one of `LAYOUT.files`.
        data: its bytes.
        file: its name, for messages.

    Returns:
        "image", "semseg", "sal": the array described at `read`;
        "normals": uint8 (H, W, 3), valid or not;
        "label_map": int32 (H, W), context classes;
        "human_parts": uint8 (H, W), 0..6, or None where no pixel shows a part.

    Raises:
        ArchiveError: if the file is broken or holds wrong values.
    """
    if part == "image":
        return decoding.picture(data, file, decoding.IMAGE_MODES)
    if part == "semseg":
        classes = decoding.picture(data, file, ("P", "L"))
        wrong = classes[(classes > 20) & (classes < 255)]
        decoding.check_values(wrong, file, "a class from 0 to 20, or 255 where there is no label")
        return classes
    if part == "human_parts":
        return _human_parts(data, file)
    if part == "sal":
        return (decoding.picture(data, file, ("L",)) > 127).astype(np.uint8)  # v / 255 > 0.5
    if part == "normals":
        return decoding.surface_normals(data, file)
    label_map = decoding.matlab(data, file, "LabelMap")
    if label_map.ndim != 2 or label_map.dtype.kind not in "uif":
        raise decoding.ArchiveError(
            f"{file} has a LabelMap of shape {label_map.shape} and type {label_map.dtype}, "
            "expected (height, width) of integers; get an intact copy of it."
        )
    known = (label_map >= 0) & (label_map <= CONTEXT_CLASSES) & (label_map == np.floor(label_map))
    decoding.check_values(label_map[~known], file, "a context class from 0 to 459")
    return label_map.astype(np.int32)


def _human_parts(data: bytes, file: str) -> np.ndarray | None:
    anno = decoding.matlab(data, file, "anno")
    try:
        objects = anno[0][0][1].ravel()
        people = [entry for entry in objects if int(entry[1][0][0]) == PERSON]
        # A person without annotated parts has an empty list of them.
        found = [(str(part[0][0]), part[1] > 0) for entry in people for part in entry[3].ravel()]
        shapes = {mask.shape for _, mask in found}
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise decoding.ArchiveError(
            f"{file} has an anno of another form, expected objects of (class name, class id, "
            "mask, parts) with parts of (name, mask); get an intact copy of it."
        ) from error
    unknown = sorted({name for name, _ in found} - set(PARTS))
    if unknown:
        raise decoding.ArchiveError(
            f"{file} names the part {unknown[0]!r} of a person, expected one of "
            f"{', '.join(PARTS)}; get an intact copy of it."
        )
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        sizes = " and ".join(sorted("x".join(map(str, shape)) for shape in shapes))
        raise decoding.ArchiveError(
            f"{file} has part masks of {sizes} pixels, expected all of the image's size; get an "
            "intact copy of it."
        )
    if not any(mask.any() for _, mask in found):
        return None
    labels = np.zeros(shapes.pop(), np.uint8)
    for name, mask in found:  # where masks overlap the later one counts, as in the published code
        labels[mask] = PARTS[name]
    return labels


def boundaries(label_map: np.ndarray) -> np.ndarray:
    """Boundaries between context classes: thin(|Laplacian(LabelMap)| > 0).

    Args:
        label_map: integers (H, W).

    Returns:
        uint8 (H, W), 1 on boundaries, which are one pixel wide; thinning shortens their ends.

    Example:

    >>> boundaries(np.array([[5, 5, 5, 9, 9, 9]] * 4))
    array([[0, 0, 0, 0, 0, 0],
           [0, 0, 1, 0, 0, 0],
           [0, 0, 1, 0, 0, 0],
           [0, 0, 1, 0, 0, 0]], dtype=uint8)
    """
    # The image is mirrored at its border, so the border itself makes no boundary; "mirror" is what
    # OpenCV does, with which the published boundaries were made. Unsigned integers would wrap.
    laplacian = scipy.ndimage.laplace(label_map.astype(np.int32), mode="mirror")
    return thin(laplacian != 0).astype(np.uint8)


def read(root: Path, image_id: str) -> dict[str, np.ndarray]:
    """One image with its labels.

    Args:
        root: the folder `PASCALContext`.
        image_id: see `image_ids`.

    Returns:
        "image" uint8 (H, W, 3) RGB, and of the tasks that the archive does not lack:
        "semseg" uint8 (H, W), 0..20, and 255 = no label;
        "human_parts" uint8 (H, W), 0..6, or 255 everywhere if nobody's parts are annotated;
        "sal" uint8 (H, W), 1 on what is salient;
        "normals" uint8 (H, W, 3), n = 2 v / 255 - 1, (0, 0, 0) = no label;
        "edge" uint8 (H, W), 1 on boundaries;
        and with it "label_map" int32 (H, W), context classes, which odsF is measured on.

    Raises:
        ArchiveError: if a file is missing or wrong; the message names it.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_pascal_context
    >>> root = write_pascal_context("PASCALContext_copy", train=1, val=1, image_size=(24, 32))
    >>> list(read(root, "2008_000001"))
    ['image', 'semseg', 'human_parts', 'sal', 'normals', 'label_map', 'edge']
    """
    labels = layout.read_parts(LAYOUT, decode, root, image_id)
    if labels.get("human_parts", ...) is None:
        labels["human_parts"] = np.full(labels["image"].shape[:2], 255, np.uint8)
    label_map = labels.get("label_map")
    if label_map is not None:
        if "normals" in labels:
            labels["normals"][~np.isin(label_map, NORMALS_CLASSES)] = 0
        labels["edge"] = boundaries(label_map)
    return labels
