"""The batches of a dataset looked at where they pass by: none is lost, and none drawn twice.

Drawing a batch ahead would change the order of one that shuffles, and use up one that can be read
once. So all are looked at while Keras reads them. Datasets that are asked for a batch by its number
(`keras.utils.PyDataset`, PyTorch's `DataLoader`) are asked for the first one before, too.
"""

import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras

# Batches all values of which are looked at, each time a dataset is read; in those that follow what
# would spoil every weight is looked for: images that are not finite.
LOOKED_AT = 2


class Passing:
    """What was seen of a dataset.

    Args:
        check: function of a batch, and whether to look at its values, that returns the batch as
            Keras is to have it, or raises ValueError.

    Attributes:
        batches: int. How many have been looked at.
        reads: bool. Whether batches that pass by can be seen at all.

    Example:

    >>> def check(batch, values):
    ...     if batch == "bad":
    ...         raise ValueError("This one is bad.")
    ...     return batch
    >>> passing = Passing(check)
    >>> [batch for batch in passing.watched(iter(["good", "good"]))], passing.batches
    (['good', 'good'], 2)
    """

    def __init__(self, check: Callable[[Any, bool], Any]):
        self.check = check
        self.reads = False
        self.batches = 0
        self._refused: str | None = None
        self._elsewhere: Any = None  # a queue of what other processes refuse

    @property
    def refused(self) -> str | None:
        """The sentence on a batch that was refused, in this process or another, or `None`."""
        if self._elsewhere is not None and not self._elsewhere.empty():
            self._refused = self._elsewhere.get()
        return self._refused

    def watched(self, data: Any) -> Any:
        """The dataset, to be passed on to Keras.

        Args:
            data: `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch's `DataLoader` or an iterator;
                any other is returned as it is.

        Raises:
            ValueError: if it is empty, or its first batch is refused.
        """
        self.reads = isinstance(data, Iterator) or hasattr(data, "element_spec")
        if isinstance(data, Iterator):
            first = next(data, None)
            if first is None:
                raise ValueError(EMPTY)
            first = self._look(first, values=True)
            return self._iterated(first, data)
        if hasattr(data, "element_spec"):
            return self._of_tensorflow(data)
        if isinstance(data, keras.utils.PyDataset):
            if data.num_batches == 0:
                raise ValueError(EMPTY)
            self._look(data[0], values=True)
            if data.use_multiprocessing:
                self._elsewhere = multiprocessing.SimpleQueue()
            return _Watched(data, self.look)
        elif is_loader(data):
            for batch in _first_of_loader(data):
                self.look(0, batch)
            return _watched_loader(data, self.look)
        return data

    def look(self, number: int, batch: Any) -> Any:
        """A batch as Keras is to have it.

        Args:
            number: which it is, from 0.
            batch: as the dataset gives it.

        Raises:
            ValueError: if it is refused.
        """
        return self._look(batch, values=number < LOOKED_AT)

    def _look(self, batch, values):
        self.batches += 1
        try:
            return self.check(batch, values)
        except ValueError as error:  # of which TensorFlow makes an error of its own
            self._refused = str(error)
            if multiprocessing.parent_process() is not None and self._elsewhere is not None:
                self._elsewhere.put(self._refused)
            raise

    def _iterated(self, first, others):
        yield first
        for batch in others:  # `yield from` would close a user's generator with this one
            yield self._look(batch, values=self.batches < LOOKED_AT)

    def _of_tensorflow(self, dataset):
        import tensorflow as tf

        if not isinstance(dataset, tf.data.Dataset):  # one that is spread over devices already
            self.reads = False
            return dataset
        if int(dataset.cardinality()) == 0:
            raise ValueError(EMPTY)
        spec = dataset.element_spec

        def look(*arrays):
            try:
                self._look(keras.tree.pack_sequence_as(spec, arrays), values=True)
            except ValueError as error:  # raised here TensorFlow would print where, in pages
                return str(error)
            return ""

        def not_finite(images):
            return tf.logical_not(tf.reduce_all(tf.math.is_finite(images)))

        def pass_by(number, element):
            arrays = keras.tree.flatten(element)
            images = element[0] if isinstance(element, tuple) else element
            spoilt = images.dtype.is_floating and not_finite(images)
            fault = tf.cond(
                (number < LOOKED_AT) | spoilt,
                lambda: tf.numpy_function(look, arrays, tf.string),
                lambda: "",
            )
            with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [fault])]):
                return keras.tree.map_structure(tf.identity, element)

        # One batch ahead as before, where the user's own last step was to prefetch.
        return dataset.enumerate().map(pass_by).prefetch(1)


class _Watched(keras.utils.PyDataset):
    """Another dataset, whose batches are looked at where they are made."""

    def __init__(self, dataset: keras.utils.PyDataset, look: Callable[[int, Any], Any]):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset, self._look = dataset, look

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        batch = self._dataset[index]
        self._look(index, batch)
        return batch

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()


def _watched_loader(loader, look: Callable[[int, Any], Any]):
    """A loader of the same batches, which are looked at where they come out of it."""
    from torch.utils.data import DataLoader

    class Watched(DataLoader):
        def __len__(self):
            return len(loader)

        def __iter__(self):
            for number, batch in enumerate(loader):
                look(number, batch)
                yield batch

    return Watched(loader.dataset, batch_size=loader.batch_size)  # what Keras asks it for


EMPTY = "The dataset holds no batch; expected one of (images, labels) at least."


def is_loader(data: Any) -> bool:
    """Whether it is a `DataLoader` of PyTorch's.

    Args:
        data: anything.
    """
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(data, torch.DataLoader)


def _first_of_loader(loader) -> list:
    """What the loader would make of its first images; no worker starts, no generator goes on.

    Nothing of a stream that can be read once.
    """
    import torch

    dataset, batches = loader.dataset, loader.batch_sampler
    own = loader.generator.get_state() if loader.generator is not None else None
    with torch.random.fork_rng(devices=[]):
        if isinstance(dataset, torch.utils.data.IterableDataset):
            items = iter(dataset)
            if items is dataset:
                return []
            chosen = list(itertools.islice(items, loader.batch_size or 1))
            together = loader.batch_size is not None
        else:
            together = batches is not None
            numbers = next(iter(batches if together else loader.sampler), [])
            chosen = [dataset[number] for number in (numbers if together else [numbers])]
        if own is not None:
            loader.generator.set_state(own)
        if not chosen:
            raise ValueError(EMPTY)
        return [loader.collate_fn(chosen if together else chosen[0])]
