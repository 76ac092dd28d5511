"""What a task says about its labels: how they look, which are wrong, and how images move them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.tasks import dense
from keras_mtl.tasks.encodings import Encoding, recognised


class ArraySpec(NamedTuple):
    """What one array of an image's label looks like.

    Args:
        shape: tuple of int, without the batch axis.
        dtype: str.
    """

    shape: tuple[int, ...]
    dtype: str


def each_array(function: Callable, label: Any) -> Any:
    """What a function makes of a label that is one array, or of each array of a dict by name.

    Lists are arrays here.

    Args:
        function: of an array.
        label: an array, or a dict of such.

    Example:

    >>> each_array(np.shape, {"points": [[1.0, 2.0]], "classes": [3]})
    {'points': (1, 2), 'classes': (1,)}
    """
    if isinstance(label, Mapping):
        return {name: function(values) for name, values in label.items()}
    return function(label)


class LabelContract:
    """The part of `keras_mtl.tasks.Task` that is about labels."""

    name: str
    ignore: float
    output = "map"
    label_dtype = "int32"
    label_channels: int | None = None
    label_values: tuple[int, ...] | None = None
    measured_in: str | None = None
    stores = "numbers"
    encodings: tuple[Encoding, ...] = ()

    def label_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one image's label, where it is one map.

        Args:
            height: int, pixels.
            width: int, pixels.
        """
        channels = () if self.label_channels is None else (self.label_channels,)
        return (height, width, *channels)

    def label_spec(self, height: int, width: int) -> ArraySpec | dict[str, ArraySpec]:
        """One image's label: an array, or several by name.

        Args:
            height: int, pixels.
            width: int, pixels.
        """
        return ArraySpec(self.label_shape(height, width), self.label_dtype)

    def no_label(self, height: int, width: int) -> Any:
        """A label that says nothing, for an image on which this task is not annotated.

        Args:
            height: int, pixels.
            width: int, pixels.
        """
        self._only_for_maps("no_label(height, width)")
        return np.full(self.label_shape(height, width), self.ignore, self.label_dtype)

    def labelled_pixels(self, label: np.ndarray) -> np.ndarray:
        """Which pixels of a map are labelled, a bool array without a channel axis.

        Args:
            label: `(..., H, W)` or `(..., H, W, c)`.
        """
        labelled = np.asarray(label) != self.ignore
        return labelled if self.label_channels is None else labelled.any(axis=-1)

    def is_labelled(self, label: Any) -> bool:
        """Whether an image's label says anything.

        Args:
            label: without the batch axis.
        """
        self._only_for_maps("is_labelled(label)")
        return bool(self.labelled_pixels(label).any())

    def label_of(self, scene: dict) -> Any:
        """The label of a generated room.

        Args:
            scene: what `keras_mtl.rooms.render` gives.

        Raises:
            ValueError: if rooms have no label for this task.
        """
        if self.name not in scene:
            raise ValueError(
                f"Rooms have no label for a task named {self.name!r}, a {type(self).__name__}, but "
                "depth, normals, edge, sal, human_parts and classes; leave it out of `tasks`, or "
                "define its label_of(scene)."
            )
        return scene[self.name]

    @property
    def class_ids(self) -> range | None:
        """The class ids that a label may hold, where it holds class ids."""
        return None

    def check_labels(self, labels: Any, height: int, width: int) -> None:
        """Refuses labels that training would misread, and warns of what is doubtful.

        Args:
            labels: array `(B, height, width)` or `(B, height, width, c)`.
            height: int, pixels.
            width: int, pixels.

        Raises:
            ValueError: if the shape or a value is wrong.
        """
        self.check_label_spec(each_array(np.shape, labels), height, width)
        labels = each_array(self._numbers, labels)
        if fault := self.fault(labels):
            raise ValueError(fault)
        if doubt := self.doubt(labels):
            warnings.warn(doubt, stacklevel=3)

    def _numbers(self, labels) -> np.ndarray:
        found = np.asarray(labels)
        if found.dtype.kind not in "buifV":  # V: bfloat16
            raise ValueError(
                f"Labels of task {self.name!r} are of type {found.dtype}; expected {self.stores}."
            )
        return found

    def fault(self, labels: Any) -> str | None:
        """The sentence on labels that hold a wrong value, or `None`.

        Args:
            labels: array `(B, H, W)` or `(B, H, W, c)`; for class ids, and for 0 and 1, an array
                of any shape.

        Example:

        >>> keras_mtl.tasks.SemanticSegmentation(channels=3).fault(np.array([1, 2, 3]))
        "Labels of task 'semseg' hold the value 3; expected class ids 0 to 2, or 255 where there \
is no label: this looks like ids that are counted from 1 on; subtract 1 and write 255 where there \
is no label."
        """
        wrong = self.wrong_label(labels)
        if wrong is None:
            return None
        value, expected = wrong
        encoding = recognised(self, labels, certain=True) if self.encodings else None
        return (
            f"Labels of task {self.name!r} hold the value {value}; expected {expected}, "
            f"or {self.ignore} where there is no label"
            + (f": {encoding.sentence(self)}." if encoding else ".")
        )

    def doubt(self, labels: Any) -> str | None:
        """A sentence on labels that are right as they stand, but look like another encoding.

        Args:
            labels: as for `fault`.
        """
        encoding = recognised(self, labels, certain=False) if np.size(labels) else None
        return f"Labels of task {self.name!r}: {encoding.sentence(self)}." if encoding else None

    def check_label_spec(self, shapes: Any, height: int, width: int) -> None:
        """Refuses the shapes of labels.

        Args:
            shapes: the shape of the labels, batch axis first, `None` for an unknown length; or a
                dict of shapes, where the label is several arrays.
            height: int, pixels.
            width: int, pixels.

        Raises:
            ValueError: if labels of these shapes are none of this task's.
        """
        spec = self.label_spec(height, width)
        if isinstance(spec, dict):
            if not isinstance(shapes, dict) or set(spec) != set(shapes):
                found = ", ".join(map(str, shapes)) if isinstance(shapes, dict) else "one array"
                raise ValueError(
                    f"Labels of task {self.name!r} are {found}; expected a dict of "
                    f"{', '.join(spec)}."
                )
            for name, each in spec.items():
                self._check_shape(shapes[name], each)
        elif isinstance(shapes, dict):
            raise ValueError(
                f"Labels of task {self.name!r} are a dict of {', '.join(map(str, shapes))}; "
                "expected one array."
            )
        else:
            self._check_shape(shapes, spec)

    def check_label_shape(self, shape: Sequence[int | None], height: int, width: int) -> None:
        """`check_label_spec` for a label that is one array.

        Args:
            shape: tuple, batch axis first; `None` stands for an unknown length.
            height: int, pixels.
            width: int, pixels.

        Raises:
            ValueError: if labels of this shape are none of this task's.
        """
        self.check_label_spec(tuple(shape), height, width)

    def _check_shape(self, shape, spec: ArraySpec) -> None:
        expected = (None, *spec.shape)
        matches = len(shape) == len(expected) and all(
            want in (None, found) or found is None
            for want, found in zip(expected, shape, strict=True)
        )
        if not matches:
            text = "(batch, " + ", ".join(map(str, spec.shape)) + ")"
            raise ValueError(
                f"Labels of task {self.name!r} have shape {tuple(shape)}; expected {text}, "
                f"the size of the model's images{self._advice_on_shape(shape, expected)}."
            )

    def _advice_on_shape(self, shape, expected) -> str:
        """What a last axis that should not be there gives away."""
        if self.output != "map" or self.label_channels not in (None, 1) or len(shape) != 4:
            return ""
        last = shape[-1]
        if self.class_ids is not None and last == len(self.class_ids) and last > 4:
            return ": of one-hot labels take the argmax along the last axis"
        if last in (3, 4):
            return f": store {self.stores}, not colours"
        return ": leave the last axis out" if last == 1 and len(expected) == 3 else ""

    def wrong_label(self, labels: np.ndarray) -> tuple[object, str] | None:
        """A value that is no label of this task, and what was expected; `None` if all are.

        Args:
            labels: array `(B, H, W)` or `(B, H, W, c)`.

        Returns:
            Of maps, unless a kind says more, NaN or infinity, and what it `stores`.
        """
        if self.output != "map" or labels.dtype.kind != "f" or not np.isfinite(self.ignore):
            return None
        wrong = labels[~np.isfinite(labels)]
        return (wrong[0], self.stores) if wrong.size else None

    def without_voids(self, label: np.ndarray) -> np.ndarray:
        """A map in which numbers that elsewhere stand for "nothing here" are this task's `ignore`.

        Args:
            label: `(H, W)` or `(H, W, c)`.
        """
        return label

    def with_classes(self, names: Sequence[str]) -> "LabelContract":
        """The task for other classes; itself, where it has none.

        Args:
            names: of all classes.
        """
        return self

    # === Moved with the image ===

    def scaled_label(self, label: Any, factor: Any) -> Any:
        """What the label says once the image has been scaled by a factor.

        Written with plain arithmetic, so that it takes NumPy arrays and TensorFlow tensors.

        Args:
            label: `(H, W)` or `(H, W, c)`, already resampled.
            factor: float. 2 makes everything appear twice as large.

        Returns:
            A label of the same shape; where there was none, there still is none.

        Example:

        >>> keras_mtl.tasks.DepthEstimation().scaled_label(np.array([[[3.0]]]), 2.0).tolist()
        [[[1.5]]]
        """
        return label

    def flipped_label(self, label: Any) -> Any:
        """What the label says once the image has been mirrored left to right.

        Written with plain arithmetic, so that it takes NumPy arrays and TensorFlow tensors.

        Args:
            label: `(H, W)` or `(H, W, c)`, already mirrored.

        Returns:
            A label of the same shape; where there was none, there still is none.

        Example:

        >>> normals = np.array([[[0.6, 0.0, -0.8]]])
        >>> keras_mtl.tasks.SurfaceNormals().flipped_label(normals).tolist()
        [[[-0.6, 0.0, -0.8]]]
        """
        return label

    def unpack(self, stored: Any) -> Any:
        """A label as a dataset stores it, as losses want it; at its own size.

        Args:
            stored: TensorFlow tensor, or a dict of such.
        """
        return dense.unpack(self, stored) if self.output == "map" else stored

    def erase(self, stored: Any) -> Any:
        """The label that says nothing in the place of one that a dataset stores.

        Args:
            stored: TensorFlow tensor, or a dict of such.
        """
        self._only_for_maps("erase(stored)")
        return dense.erase(self, stored)

    def prepare_move(self, stored: Any) -> Any:
        """A stored label made ready to be moved many times, once for each epoch.

        Args:
            stored: TensorFlow tensor, or a dict of such.
        """
        return dense.as_planes(self, stored) if self.output == "map" else stored

    def move(self, label: Any, change: Any) -> Any:
        """The label of an image that was scaled, cropped, mirrored and padded.

        Args:
            label: what `prepare_move` gave: for a map its planes, and else the stored label.
            change: `keras_mtl.data.geometry.Change`: what was done to the image. Points move by
                `change.points(xy)`, a camera by `change.camera(matrix)`.

        Returns:
            For a map, planes `(c, height, width)` for `finish_move`; else the label.
        """
        self._only_for_maps("move(label, change)")
        return change.resample(label)

    def finish_move(self, moved: Any, change: Any) -> Any:
        """The last part of `move`, which is left until labels are a batch, for speed.

        Args:
            moved: what `move` gave.
            change: of which only `factor` and `mirrored` are known by then.
        """
        return dense.finish_move(self, moved, change) if self.output == "map" else moved

    def _lacks(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} must define {method}.")

    def _only_for_maps(self, method: str) -> None:
        """What is said here of a map says nothing of another output."""
        if self.output != "map":
            raise self._lacks(method)
