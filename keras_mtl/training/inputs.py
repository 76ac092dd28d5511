"""The images and labels a model is given: fitted to it, or refused in one sentence.

They are looked at before Keras sees them: a batch of another size would be misread, a label of
another range trained on, and on JAX a step that fails half-way takes the weights with it.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_mtl.tasks import Task
from keras_mtl.tasks.labels import each_array
from keras_mtl.training.arrays import (
    as_array,
    as_numpy,
    check_image_values,
    check_images,
    labels_of,
)
from keras_mtl.training.call_arguments import check_arguments, check_share
from keras_mtl.training.devices import split
from keras_mtl.training.first_batches import EMPTY, Passing, is_loader
from keras_mtl.training.sample_weights import check_weight_values, weights_of


@dataclass(frozen=True)
class Inputs:
    """What a model takes, and into how many parts its devices split a batch.

    One is made for each call of `fit`, `evaluate` or `predict`.

    Args:
        tasks: list of the model's tasks.
        image_size: `(height, width)` in pixels.
        parts: int.
        evaluated: list of the tasks whose labels validation takes; `None` means the same.
        passing: list, filled with what is seen of the datasets of this call.
        said: list, filled with the warnings of this call.
    """

    tasks: Sequence[Task]
    image_size: tuple[int, int]
    parts: int = 1
    evaluated: Sequence[Task] | None = None
    passing: list[Passing] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def for_fit(self, x, y, validation_data, arguments: Mapping) -> tuple:
        """The data of `fit`, to be passed on to Keras.

        Args:
            x, y, validation_data: see `MultiTaskModel.fit`.
            arguments: the other ones.

        Raises:
            ValueError: if images, labels or arguments do not fit, or an epoch would never end.
        """
        check_arguments(arguments)
        batch_size, steps = arguments.get("batch_size"), arguments.get("validation_steps")
        begun = {"steps_per_epoch": arguments.get("steps_per_epoch")}
        x, y = self._prepare(x, y, begun, batch_size, training=True)
        if validation_data is None:
            check_share(arguments.get("validation_split"), None if y is None else len(x))
        validation = replace(self, tasks=self.evaluated or self.tasks)
        if isinstance(validation_data, (tuple, list)):
            if len(validation_data) not in (2, 3):
                raise ValueError(
                    f"validation_data has {len(validation_data)} parts; expected (images, labels), "
                    "or a dataset."
                )
            images, labels, *rest = validation_data
            batch_size = arguments.get("validation_batch_size") or batch_size
            weighted = bool(rest)
            images, labels = validation._prepare(images, labels, {}, batch_size, weighted=weighted)
            validation_data = (images, labels, *validation.for_weights(rest, images, labels))
        elif validation_data is not None:
            until = {"validation_steps": steps}
            validation_data, _ = validation._prepare(validation_data, None, until)
            if arguments.get("validation_freq", 1) != 1:
                self.passing[-1].reads = False  # perhaps never
        return x, y, validation_data

    def for_evaluate(self, x, y, arguments: Mapping) -> tuple:
        """The data of `evaluate`, to be passed on to Keras.

        Args:
            x, y: see `MultiTaskModel.evaluate`.
            arguments: the other ones.

        Raises:
            ValueError: if images, labels or arguments do not fit, or there would be no end.
        """
        check_arguments(arguments)
        weighted = arguments.get("sample_weight") is not None
        steps = {"steps": arguments.get("steps")}
        return self._prepare(x, y, steps, arguments.get("batch_size"), weighted=weighted)

    def for_weights(self, weights: Sequence, x, y) -> list:
        """The weights of images or pixels, to be passed on to Keras.

        Args:
            weights: none or one, see `keras_mtl.training.sample_weights`; `None` stays.
            x, y: checked images and labels.

        Raises:
            ValueError: if they do not fit.
        """
        if all(each is None for each in weights):
            return list(weights)
        if y is None:
            raise ValueError(
                "sample_weight is given besides a dataset; its batches may be (images, labels, "
                "sample_weight) themselves."
            )
        found = weights_of(weights[0], y, self.tasks, self.image_size)
        check_weight_values(found, len(x))
        return [found]

    def for_batch(self, x, y, weights) -> tuple:
        """The arrays of `train_on_batch` and `test_on_batch`, to be passed on to Keras.

        Args:
            x, y, weights: images, labels and their weights or `None`.

        Raises:
            ValueError: if they do not fit.
        """
        x, y = self._arrays(x, y)
        return (x, y, *self.for_weights([weights], x, y))

    def for_one_batch(self, x) -> Any:
        """The images of `predict_on_batch`.

        Args:
            x: images.

        Raises:
            ValueError: if they do not fit the model.
        """
        return self._images(x)

    def for_predict(self, x, arguments: Mapping | None = None) -> tuple[Any, int | None]:
        """The images of `predict`, filled up with black ones where devices split them.

        Args:
            x: see `MultiTaskModel.predict`.
            arguments: the other ones.

        Returns:
            The images, and of how many the outputs are to be kept; `None`: of all.

        Raises:
            ValueError: if the images do not fit the model, or the devices.
        """
        check_arguments(arguments or {})
        spec = getattr(x, "element_spec", None)  # of a tf.data.Dataset
        if spec is not None:
            images = spec[0] if isinstance(spec, tuple) else spec
            shape = tuple(images.shape)
            check_images(shape, self.image_size)
            _check_types(images, {})
            if (shape[0] or 1) % self.parts:
                raise ValueError(
                    f"predict takes batches that divide by {self.parts} devices, and of this "
                    f"dataset they hold {shape[0] or 'any number'}; give an array of images, or "
                    "call predict_on_batch on each batch."
                )
        elif hasattr(x, "shape") or isinstance(x, (list, tuple)):
            x = self._images(x)
            if len(x) % self.parts:
                missing = np.zeros((-len(x) % self.parts, *x.shape[1:]), "float32")
                return np.concatenate([x, missing]), len(x)
            return x, None
        self._check_ends(x, {"steps": (arguments or {}).get("steps")})
        return self._dataset(x, self._only_images), None

    @contextlib.contextmanager
    def in_our_words(self, reads: bool) -> Iterator[None]:
        """Inside, what is wrong with a dataset's batches is said in our sentence.

        Args:
            reads: whether it is read in any case, so that a batch must have been seen.

        Raises:
            ValueError: if a batch was refused, or there was none.
        """
        try:
            yield
        except Exception as error:
            self._say_what_was_seen()
            # Keras' of an empty dataset; the words, under PyTorch, of a model's first one
            empty = isinstance(error, (StopIteration, UnboundLocalError))
            if empty or "is not optional, but None was passed" in str(error):
                self._say_there_was_none()
            raise
        self._say_what_was_seen()
        if reads:
            self._say_there_was_none()

    def _say_what_was_seen(self):
        for each in self.passing:
            if (refused := each.refused) is not None:
                raise ValueError(refused) from None

    def _say_there_was_none(self):
        if any(each.reads and not each.batches for each in self.passing):
            raise ValueError(EMPTY) from None

    def _prepare(self, x, y, steps: Mapping, batch_size=None, training=False, weighted=False):
        if y is not None or hasattr(x, "shape") or isinstance(x, (list, tuple)):
            if y is not None and (hasattr(x, "element_spec") or is_dataset(x)):
                raise ValueError(
                    f"y is given besides a {type(x).__name__}, whose batches are (images, labels) "
                    "themselves; leave y out."
                )
            x, y = self._arrays(x, y)
        else:
            self._check_ends(x, steps)
            if hasattr(x, "element_spec"):
                x = self._of_spec(x)
            x = self._dataset(x, self._batch)
        return split(x, y, self.tasks, self.parts, batch_size, training=training, weighted=weighted)

    def _check_ends(self, x, steps: Mapping):
        for name, given in steps.items():
            if not given and never_ends(x):
                raise ValueError(
                    "The dataset never ends (keras_mtl.data.load makes such for training); pass "
                    f"{name}, for instance the number of images divided by the batch size."
                )

    # === Arrays ===

    def _images(self, x):
        x = as_array(x, "Images")
        check_images(np.shape(x), self.image_size)
        if not len(x):
            raise ValueError("There are no images; expected one at least.")
        check_image_values(x, self.said)
        return x

    def _arrays(self, x, y):
        x = self._images(x)
        y = labels_of(y, self.tasks)
        for task in self.tasks:
            name = f"Labels of task {task.name!r}"
            label = each_array(lambda values, name=name: as_array(values, name), y[task.name])
            self._check_label(task, label, len(x))
            y[task.name] = label
        return x, y

    def _check_label(self, task, label, count):
        task.check_labels(each_array(as_numpy, label), *self.image_size)
        for values in keras.tree.flatten(label):
            _check_length(task, len(values), count)

    # === Datasets ===

    def _dataset(self, x, check):
        # What Grain makes Keras reads, too.
        grain = type(x).__module__.partition(".")[0] == "grain"
        if not is_dataset(x) and not hasattr(x, "element_spec") and not grain:
            raise ValueError(
                f"The data is of type {type(x).__name__}; expected an array of images, a "
                "tf.data.Dataset, a keras.utils.PyDataset, a generator or a DataLoader."
            )
        if isinstance(x, keras.utils.PyDataset) and check == self._batch:
            check = self._batch_of_no_others
        self.passing.append(Passing(check))
        return self.passing[-1].watched(x)

    def _of_spec(self, x):
        """A `tf.data.Dataset`, whose shapes are known, with only these tasks' labels."""
        spec = x.element_spec
        images, labels, *weights = spec if isinstance(spec, tuple) else (spec, None)
        if not hasattr(images, "shape"):
            raise ValueError(
                "The dataset's elements are no (images, labels); make them so with map, for "
                "instance dataset.map(lambda x: (x.pop('image'), x))."
            )
        self.check_shapes(images.shape, labels)
        _check_types(images, labels_of(labels, self.tasks))
        for each in weights:  # by their shapes, as TensorFlow wraps what is refused in `map`
            symbols = keras.tree.map_structure(lambda w: keras.KerasTensor(tuple(w.shape)), each)
            weights_of(symbols, labels, self.tasks, self.image_size)
        if len(labels_of(labels, self.tasks)) < len(labels) or weights:
            x = x.map(self._fitted)
        return x

    def _fitted(self, images, labels, *weights):
        """A batch of tensors with only these tasks' labels, and weights of one form."""
        own = labels_of(labels, self.tasks)
        return (images, own, *(weights_of(w, own, self.tasks, self.image_size) for w in weights))

    def check_shapes(self, images: Sequence[int | None], labels: Any) -> None:
        """Refuses what a step would misread, as far as shapes tell; it costs nothing in a step.

        Args:
            images: shape of the images.
            labels: dict by task name of arrays, tensors or symbols.

        Raises:
            ValueError: if one is missing or of another shape.
        """
        check_images(tuple(images), self.image_size)
        own = labels_of(labels, self.tasks)
        for task in self.tasks:
            shapes = each_array(lambda values: tuple(values.shape), own[task.name])
            task.check_label_spec(shapes, *self.image_size)
            for shape in shapes.values() if isinstance(shapes, dict) else [shapes]:
                _check_length(task, shape[0], images[0])

    def _batch(self, batch, values):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                f"The dataset's elements are no (images, labels) but a {type(batch).__name__}; "
                "make them so."
            )
        images, labels, *weights = batch
        if values:
            images, own = self._arrays(images, labels)
            weights = self.for_weights(weights, images, own)
        else:
            images, own = as_array(images, "Images"), labels_of(labels, self.tasks)
            self.check_shapes(np.shape(images), own)
            check_image_values(images, self.said)
            if weights and weights[0] is not None:
                weights = [weights_of(weights[0], own, self.tasks, self.image_size)]
        return (images, own, *weights)

    def _batch_of_no_others(self, batch, values):
        found = self._batch(batch, values)
        others = [name for name in batch[1] if name not in found[1]]
        if others:
            raise ValueError(
                f"The dataset has labels of {', '.join(others)} besides this model's; leave "
                "them out."
            )
        return found

    def _only_images(self, batch, values):
        images, *rest = batch if isinstance(batch, (tuple, list)) else (batch,)
        if len(rest) > 2:
            raise ValueError(
                f"The dataset's elements have {len(rest) + 1} parts; expected images, or (images, "
                "labels)."
            )
        if values:
            images = self._images(images)
        else:
            check_images(np.shape(images), self.image_size)
            check_image_values(images, self.said)
        return (images, *rest)


def _check_length(task: Task, length: int | None, count: int | None) -> None:
    if None not in (length, count) and length != count:
        raise ValueError(
            f"There are labels of task {task.name!r} for {length} images, and {count} images; give "
            "a label for each."
        )


def _check_types(images, labels: Mapping) -> None:
    """Refuses text in a `tf.data.Dataset`, at which TensorFlow stops before a batch is seen."""
    for name, each in {"image": images, **labels}.items():
        if any(array.dtype.name == "string" for array in keras.tree.flatten(each)):
            raise ValueError(f"The dataset has text for {name!r}; expected numbers.")


def never_ends(dataset) -> bool:
    """Whether a dataset says that it has no end, as those made for training do.

    Args:
        dataset: anything; only a `tf.data.Dataset`, or what has its `cardinality`, and a
            `keras.utils.PyDataset` can say so.
    """
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches is None
    return callable(getattr(dataset, "cardinality", None)) and int(dataset.cardinality()) == -1


def is_dataset(data: Any) -> bool:
    """Whether batches are drawn from it in Python.

    Args:
        data: anything.
    """
    return isinstance(data, (keras.utils.PyDataset, Iterator)) or is_loader(data)
