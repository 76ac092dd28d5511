"""The images and labels a model is given: fitted to it, or refused in one sentence.

They are looked at before Keras sees them: a batch of another size would be misread, a label of
another range trained on, and on JAX a step that fails half-way takes the weights with it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_mtl import distribution
from keras_mtl.tasks import Task


@dataclass(frozen=True)
class Inputs:
    """What a model takes, and into how many parts its devices split a batch.

    Args:
        tasks: list of the model's tasks.
        image_size: `(height, width)` in pixels.
        parts: int.
    """

    tasks: Sequence[Task]
    image_size: tuple[int, int]
    parts: int = 1

    def for_fit(self, x, y, validation_data, arguments: Mapping) -> tuple:
        """The data of `fit`, to be passed on to Keras.

        Args:
            x, y, validation_data: see `MultiTaskModel.fit`.
            arguments: the other ones.

        Raises:
            ValueError: if images or labels do not fit, or an epoch would never end.
        """
        batch_size, steps = arguments.get("batch_size"), arguments.get("validation_steps")
        begun = {"steps_per_epoch": arguments.get("steps_per_epoch")}
        x, y = self._prepare(x, y, begun, batch_size, training=True)
        if isinstance(validation_data, (tuple, list)):
            images, labels, *rest = validation_data
            batch_size = arguments.get("validation_batch_size") or batch_size
            data = self._prepare(images, labels, {}, batch_size, weighted=bool(rest))
            validation_data = (*data, *rest)
        elif validation_data is not None:
            validation_data, _ = self._prepare(validation_data, None, {"validation_steps": steps})
        return x, y, validation_data

    def for_evaluate(self, x, y, arguments: Mapping) -> tuple:
        """The data of `evaluate`, to be passed on to Keras.

        Args:
            x, y: see `MultiTaskModel.evaluate`.
            arguments: the other ones.

        Raises:
            ValueError: if images or labels do not fit, or there would be no end.
        """
        weighted = arguments.get("sample_weight") is not None
        steps = {"steps": arguments.get("steps")}
        return self._prepare(x, y, steps, arguments.get("batch_size"), weighted=weighted)

    def for_predict(self, x) -> tuple[Any, int | None]:
        """The images of `predict`, filled up with black ones where devices split them.

        Args:
            x: see `MultiTaskModel.predict`.

        Returns:
            The images, and of how many the outputs are to be kept; `None`: of all.

        Raises:
            ValueError: if the images do not fit the model, or the devices.
        """
        spec = getattr(x, "element_spec", None)  # of a tf.data.Dataset
        if spec is not None:
            shape = tuple((spec[0] if isinstance(spec, tuple) else spec).shape)
            check_images(shape, self.image_size)
            if (shape[0] or 1) % self.parts:
                raise ValueError(
                    f"predict takes batches that divide by {self.parts} devices, and of this "
                    f"dataset they hold {shape[0] or 'any number'}; give an array of images, or "
                    "call predict_on_batch on each batch."
                )
        elif hasattr(x, "shape"):
            check_images(x.shape, self.image_size)
            if len(x) % self.parts:
                missing = np.zeros((-len(x) % self.parts, *x.shape[1:]), "float32")
                return np.concatenate([x, missing]), len(x)
        return x, None

    def _prepare(self, x, y, steps: Mapping, batch_size=None, training=False, weighted=False):
        for name, given in steps.items():
            if not given and never_ends(x):
                raise ValueError(
                    "The dataset never ends (keras_mtl.data.load makes such for training); pass "
                    f"{name}, for instance the number of images divided by the batch size."
                )
        x, y = checked(x, y, self.tasks, self.image_size)
        return split(x, y, self.tasks, self.parts, batch_size, training=training, weighted=weighted)


def never_ends(dataset) -> bool:
    """Whether a dataset says that it has no end, as those made for training do.

    Args:
        dataset: anything; only a `tf.data.Dataset`, or what has its `cardinality`, can say so.
    """
    return callable(getattr(dataset, "cardinality", None)) and int(dataset.cardinality()) == -1


def check_images(shape: Sequence[int | None], image_size: tuple[int, int]) -> None:
    """Raises ValueError if images are not a batch of `(height, width, 3)`.

    Args:
        shape: of the images.
        image_size: `(height, width)` in pixels that the model takes.
    """
    height, width = image_size
    if len(shape) != 4 or tuple(shape[1:]) != (height, width, 3):
        raise ValueError(
            f"Images have shape {tuple(shape)}; this model takes "
            f"(batch, {height}, {width}, 3), RGB in 0..255."
        )


def checked(x, y, tasks: Sequence[Task], image_size: tuple[int, int]) -> tuple:
    """The data with only these tasks' labels, after refusing what a model would misread.

    Args:
        x: array of images, or a dataset of `(images, labels)`.
        y: dict by task name of label arrays, or None with a dataset.
        tasks: the model's.
        image_size: `(height, width)` in pixels that the model takes.

    Returns:
        `(x, y)`, to be passed on to Keras.

    Raises:
        ValueError: if images or labels do not fit.
    """
    if y is not None or isinstance(x, np.ndarray):
        check_images(np.shape(x), image_size)
        _warn_of_range(x)
        y = _own(y, tasks)
        for task in tasks:
            task.check_labels(y[task.name], *image_size)
    elif hasattr(x, "element_spec"):  # a tf.data.Dataset
        spec = x.element_spec
        images, labels, *_ = spec if isinstance(spec, tuple) else (spec, None)
        if not hasattr(images, "shape"):
            raise ValueError(
                "The dataset's elements are no (images, labels); make them so with map, for "
                "instance dataset.map(lambda x: (x.pop('image'), x))."
            )
        check_images(tuple(images.shape), image_size)
        own = _own(labels, tasks)
        for task in tasks:
            shapes = keras.tree.map_structure(lambda each: tuple(each.shape), own[task.name])
            task.check_label_spec(shapes, *image_size)
        if len(own) < len(labels):
            x = x.map(lambda images, labels, *rest: (images, _own(labels, tasks), *rest))
    elif isinstance(x, keras.utils.PyDataset):
        images, labels, *_ = x[0]
        checked(np.asarray(images), labels, tasks, image_size)
        others = [name for name in labels if name not in _own(labels, tasks)]
        if others:
            raise ValueError(
                f"The dataset has labels of {', '.join(others)} besides this model's; leave "
                "them out."
            )
    return x, y


def _own(labels, tasks) -> dict:
    if not isinstance(labels, dict):
        found = "missing" if labels is None else f"a {type(labels).__name__}"
        raise ValueError(
            f"Labels are {found}; expected a dict by task name: "
            f"{', '.join(task.name for task in tasks)}."
        )
    missing = [task.name for task in tasks if task.name not in labels]
    if missing:
        raise ValueError(
            f"There are no labels for {', '.join(missing)} among {', '.join(labels)}; where a "
            "task is not annotated, give its task.no_label(height, width)."
        )
    return {task.name: labels[task.name] for task in tasks}


def _warn_of_range(images):
    if not isinstance(images, np.ndarray) or images.dtype.kind != "f" or not images.size:
        return
    if 0 < images.max() <= 1:
        warnings.warn(
            f"The images' largest value is {images.max():.3g}; models take RGB in 0..255 "
            "(multiply by 255), and normalize it themselves.",
            stacklevel=6,  # the line that calls `fit`
        )


def split(
    x,
    y,
    tasks: Sequence[Task],
    parts: int,
    batch_size: int | None = None,
    *,
    training: bool = False,
    weighted: bool = False,
) -> tuple:
    """The data in batches that divide by the devices of `keras_mtl.distribution`.

    Args:
        x, y: of `checked`.
        tasks: the model's.
        parts: into how many parts a batch is split.
        batch_size: of arrays; 32 if there is none, as in Keras.
        training: whether an image that only fills up a batch would be trained on.
        weighted: whether there are weights besides the labels, which cannot be filled up.

    Returns:
        `(x, y)`; a last batch that holds less is filled up with unlabelled images.

    Raises:
        ValueError: if the batches cannot be split.
    """
    if parts == 1:
        return x, y
    if y is not None:
        size, rest = batch_size or 32, np.shape(x)[0] % parts
    elif hasattr(x, "element_spec"):
        spec = x.element_spec
        size, weighted = spec[0].shape[0], len(spec) > 2
        rest = parts if size is None else 0  # unknown
    else:
        return x, y
    if (size or 0) % parts or (rest and (training or weighted)):
        last = "the last batch may hold less" if not (size or 0) % parts else f"it holds {size}"
        raise ValueError(
            f"Every batch must divide by {parts} devices, and {last}; choose a batch size that "
            f"is a multiple of {parts}, and drop the remainder."
        )
    if not rest:
        return x, y
    if y is None:
        return distribution.fill_up(x, tasks, parts), None
    return distribution.fill_up((np.asarray(x), y), tasks, parts)
