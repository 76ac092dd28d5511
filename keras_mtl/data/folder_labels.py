"""One task's labels in a folder: converted where others' conventions allow it, checked, counted."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.data.class_names import FILE, ids_of_colours, read_classes
from keras_mtl.data.depth_units import DEPTH_UNITS, DepthUnits
from keras_mtl.data.label_files import PICTURES, find_labels, read_label_file, why_unread
from keras_mtl.data.normals_axes import NormalsAxes
from keras_mtl.losses.maps import SHORTEST_NORMAL
from keras_mtl.tasks import Task

MASKS = "_mask"  # the folder of depth's masks is called as that of depth, with this at its end


class FolderLabels:
    """The labels of one task.

    Args:
        task: of which they are; its classes are those of the folder from then on.
        folder: that holds them.
        counted: whether there are as many classes as ids, unless the folder names them.
        units: how depth is stored; `None`: in metres.
        axes: how normals are stored; `None`: x right, y down, z forward.

    Attributes:
        files: dict from image to label file.

    Raises:
        ValueError: if the folder holds no label, or `classes.txt` is wrong.
    """

    def __init__(
        self,
        task: Task,
        folder: Path,
        counted: bool = False,
        units: DepthUnits | None = None,
        axes: NormalsAxes | None = None,
    ):
        self.task, self.folder, self.units, self.axes = task, folder, units, axes
        self.files, self._unread = find_labels(folder)
        self._mask_folder = folder.with_name(folder.name + MASKS)
        self._masks = find_labels(self._mask_folder)[0] if task.measured_in else {}
        if not self.files:
            said = why_unread(self._unread) if self._unread else "put them there, or remove it"
            raise ValueError(f"{folder} holds no label file that is read: {said}.")
        self.classes = None if task.class_ids is None else read_classes(folder)
        self._names = list(getattr(task, "labels", ()))
        if self.classes:
            self._take_classes(self.classes.names)
        self._counted = counted and not self.classes
        self._of_ids = task.class_ids is not None or task.label_values is not None
        pictures = all(path.suffix.lower() in PICTURES for path in self.files.values())
        whole = self._of_ids or (pictures and not task.measured_in)
        self.dtype = np.dtype("uint8" if whole else "float32")
        self._ids: list[int] = []
        self._pixels, self._none, self._became_none = 0, 0, 0
        self._doubts: dict[str, int] = {}

    def _take_classes(self, names: list[str]) -> None:
        self.task, self._names = self.task.with_classes(names), names

    @property
    def feature(self):
        """What TensorFlow Datasets stores them as."""
        shape = (None, None, self.task.label_channels or 1)
        png = {"shape": shape, "encoding_format": "png"}
        if self.task.class_ids is not None:
            return tfds.features.LabeledImage(labels=self._names, **png)
        if self.dtype == np.uint8:
            return tfds.features.Image(**png)
        return tfds.features.Tensor(shape=shape, dtype=np.float32, encoding="zlib")

    def look(self) -> None:
        """Looks at the ids of all labels: at how many classes there are, and for masks of 255.

        Raises:
            ValueError: if a file cannot be read or holds something else, or 255 stands for yes.
        """
        if self.units and self.units.masked and not self._masks:
            raise ValueError(
                f"{self.folder} says nothing without its masks; put them into {self._mask_folder}, "
                "of the same names: 0 where there is no depth."
            )
        if not self._of_ids:
            return
        found: set = set()
        for path in self.files.values():
            found |= set(np.unique(self._read_ids(path)).tolist())
        if found <= {0, 255} and (doubt := self.task.doubt(np.array(sorted(found)))):
            raise ValueError(f"{self.folder} holds the values 0 and 255 alone: {doubt}")
        self._ids = [i for i in range(255) if i in found]
        if self._counted:
            wrong = not found <= {*range(255), self.task.ignore}
            count = 255 if wrong else max(self._ids, default=0) + 1
            self._take_classes([str(i) for i in range(count)])

    def read(self, stem: str, height: int, width: int) -> np.ndarray:
        """A label as it is stored; where there is no file, one that says nothing.

        Args:
            stem: name of the image.
            height: int, pixels.
            width: int, pixels.

        Returns:
            Array `(height, width, c)`.

        Raises:
            ValueError: if the file is broken or holds no label of the task.
        """
        shape = (height, width, self.task.label_channels or 1)
        path = self.files.get(stem)
        if path is None:
            return np.full(shape, self.task.ignore, self.dtype)
        label = self._read_ids(path) if self._of_ids else _opaque(read_label_file(path))
        if self.task.measured_in:
            self._check_depth(path, label)
        if label.shape[:2] != shape[:2] or label.size != np.prod(shape):
            raise ValueError(
                f"{path} has shape {label.shape}; expected {shape}, the size of its image."
            )
        label = label.reshape(shape)
        if self.task.measured_in:
            return self._checked(path, self._in_metres(stem, path, label))
        if not self._of_ids and path.suffix.lower() in PICTURES:
            if label.dtype != np.uint8:
                raise ValueError(
                    f"{path} holds {label.dtype}, which its ending does not say; call it .npy, "
                    ".pfm or .exr, as it is one."
                )
            return self._from_colours(path, label)
        if self.axes is not None and not self._of_ids:
            label = self.axes.turn(label)
        return self._checked(path, label)

    def check_something_is_labelled(self) -> None:
        """Refuses labels none of which says anything, once all have been read.

        Raises:
            ValueError: if every pixel is one without a label.
        """
        if self._none == self._pixels:
            raise ValueError(
                f"{self.folder} says nothing: in all of its {len(self.files)} labels every pixel "
                f"is {self.task.ignore}, or became so, which means that there is no label."
            )

    def report(self, images: int) -> list[str]:
        """What was found, in sentences.

        Args:
            images: how many there are.
        """
        name, ids = self.task.name, self._ids
        said = [f"{len(self.files)} of {images} images have a label"]
        if self._none:
            said[0] += f", in which {self._none / self._pixels:.1%} of the pixels have none"
        if self._became_none:
            share = f"{self._became_none / self._pixels:.1%}"
            said.append(
                f"{share} of the pixels became no label: NaN, infinity, masked, grey, white, "
                "or the largest number."
            )
        if self._unread:
            count = len(self._unread)
            said.append(f"files that are not read: {count}, for {why_unread(self._unread)}.")
        if self._counted:
            said.append(
                f"{len(self._names)} classes, for the largest id is {len(self._names) - 1}; "
                f"{self.folder / FILE} can name them."
            )
            if len(ids) * 4 < len(self._names):
                said.append(
                    f"this looks like grey levels, for but {len(ids)} ids occur; store class ids "
                    "0, 1, 2, ... if they are no classes."
                )
        if self.task.class_ids is not None and ids and ids[0] >= 1:
            said.append(
                f"this looks like ids that are counted from {ids[0]} on, for none is 0; subtract "
                f"{ids[0]} if it is so, and write {self.task.ignore} where there is no label."
            )
        said += [f"of {times} labels: {doubt}" for doubt, times in self._doubts.items()]
        return [f"{name}: {each}" for each in said]

    # === Class ids, and 0 and 1 ===

    def _read_ids(self, path) -> np.ndarray:
        """One number a pixel."""
        label = _opaque(read_label_file(path))
        picture = path.suffix.lower() in PICTURES
        if label.ndim == 3 and (label.shape[-1] == 1 or (picture and _is_grey(label))):
            label = label[..., 0]
        if label.ndim == 2:
            return label
        if self.classes and self.classes.colours and label.dtype == np.uint8:
            try:
                return ids_of_colours(label, self.classes, self.task.ignore)
            except ValueError as error:
                raise ValueError(f"{path} {error}.") from None
        advice = f"store {self.task.stores}, one number a pixel"
        if self.task.class_ids is not None:
            advice += (
                f", or write the classes and their colours into {self.folder / FILE}, such as "
                "'floor #00ff80'"
            )
        raise ValueError(f"{path} has shape {label.shape}, as colours have; {advice}.")

    # === Depth ===

    def _check_depth(self, path, label) -> None:
        """Refuses pictures that hold no depth, and such of which the unit is not known."""
        what, unit = "", self.task.measured_in
        if label.dtype.kind in "iu" and path.suffix.lower() != ".npy":
            if label.ndim == 3 and label.shape[-1] > 1:
                what = f"is in colour, which is no {unit}"
            elif label.dtype.itemsize == 1:
                what = f"has 8 bits, which hold no {unit}"
            elif self.units is None:
                names = ", ".join(DEPTH_UNITS)
                what = (
                    f"holds whole numbers, and no {unit}; say how many make a metre, such as "
                    f"--depth-scale 1000, or of which dataset they are ({names})"
                )
        if what:
            advice = "" if ";" in what else f"; store {unit} as .npy, or 16 bits with --depth-scale"
            raise ValueError(f"{path} {what}{advice}.")

    def _in_metres(self, stem, path, label):
        if self.units is None and not self._masks:
            return label
        try:
            depth = (self.units or DepthUnits(1)).metres(label[..., 0])[..., None]
        except ValueError as error:
            raise ValueError(f"{path} {error}.") from None
        known = np.isfinite(label) & (label != 0)
        if self._masks:
            depth[~self._mask(stem, path, label.shape[:2])] = 0
        self._became_none += int((known & (depth == 0)).sum())
        return depth

    def _mask(self, stem, path, size) -> np.ndarray:
        if stem not in self._masks:
            raise ValueError(f"{path} has no mask in {self._mask_folder}; add it, or remove both.")
        mask = read_label_file(self._masks[stem])
        if mask.size != np.prod(size):
            raise ValueError(f"{self._masks[stem]} has shape {mask.shape}; expected {size}.")
        return mask.reshape(size) != 0

    # === Normals ===

    def _from_colours(self, path, label):
        """Vectors from colours of 8 bits; as colours again, where all labels are."""
        vectors = label.astype("float32") * (2 / 255) - 1
        length = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
        black = (label == 0).all(axis=-1, keepdims=True)
        known = ~black & (length >= SHORTEST_NORMAL) & (length < 1.7)  # white: 1.73
        self._became_none += int((~known & ~black).sum())
        if known.any() and np.median(np.abs(length[known] - 1)) > 0.2:
            raise ValueError(
                f"{path} holds colours that are no unit vectors: 2 v / 255 - 1 has length "
                f"{np.median(length[known]):.2f}; store n as (n + 1) / 2 * 255."
            )
        if self.axes is not None:
            label, vectors = self.axes.turn_colours(label), self.axes.turn(vectors)
        vectors = self._checked(
            path, np.where(known, vectors / np.maximum(length, SHORTEST_NORMAL), 0)
        )
        return np.where(known, label, 0).astype("uint8") if self.dtype == np.uint8 else vectors

    # === All ===

    def _checked(self, path, label):
        """A label that holds nothing wrong, as it is stored."""
        task, (height, width, _) = self.task, label.shape
        if not self._of_ids:
            given = np.nan_to_num(label.astype("float32"), nan=np.inf, posinf=np.inf, neginf=np.inf)
            label = task.without_voids(label.astype("float32"))
            emptied = (label == task.ignore).all(axis=-1) & (given != task.ignore).any(axis=-1)
            self._became_none += int(emptied.sum())
        shaped = label.reshape(1, *task.label_shape(height, width))
        if fault := task.fault(shaped):
            others = ""
            if self.classes:
                others = f" {self.folder / FILE} names {len(self._names)} classes, one a line."
            elif task.class_ids is not None:
                others = f" Other classes stand in {self.folder / FILE}, one name a line."
            raise ValueError(f"{path}: {fault}{others}")
        known = task.labelled_pixels(shaped)
        self._pixels, self._none = self._pixels + known.size, self._none + int((~known).sum())
        # Of ids those that say something: whether 255 stands for yes, all files together tell.
        if doubt := task.doubt(shaped[known] if self._of_ids else shaped):
            self._doubts[doubt] = self._doubts.get(doubt, 0) + 1
        return label.astype("uint8" if self._of_ids else "float32")


def _opaque(label: np.ndarray) -> np.ndarray:
    """A picture without its alpha channel, where that says nothing."""
    if label.dtype == np.uint8 and label.ndim == 3 and label.shape[-1] in (2, 4):
        if (label[..., -1] == 255).all():
            return label[..., :-1]
    return label


def _is_grey(label: np.ndarray) -> bool:
    """Whether a picture in colour shows nothing but grey."""
    return bool((label == label[..., :1]).all())
