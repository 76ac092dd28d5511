"""What the network of a file would take, found out before it takes it."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_mtl.declared import Refused, check_size

_PLAIN = 2**16  # ids, lengths and the like that say nothing of memory


def check_network(path: str | Path, config: Any, build: Callable[[], Any], held: int) -> None:
    """Refuses a network that would take more memory than its file explains.

    It is built once without values, in a thread of its own: Keras keeps for each thread which
    variables still lack theirs, so that those are forgotten with it.

    Args:
        path: the file or folder, for the sentence.
        config: what it says of the network, as JSON gives it.
        build: function without arguments that builds the network, all its weights included.
        held: bytes that the file's weights take.

    Raises:
        keras_mtl.declared.Refused: if a size in `config`, or all weights together, are far beyond
            what the file holds.

    Example:

    >>> wide = lambda: keras.Sequential([keras.Input((20_000,)), keras.layers.Dense(10_000)])
    >>> check_network("model.keras", {"units": 10_000}, wide, 2_000)
    Traceback (most recent call last):
    keras_mtl.declared.Refused: model.keras declares 800 MB for its network and has 0 MB; it is \
damaged or made to fill the memory, so get it again from somebody you trust.
    """
    largest = max(_integers(config), default=0)
    if largest > max(_PLAIN, held):  # also as a number of layers, which nobody should begin with
        raise Refused(
            f"{path} declares a network with a size of {largest:,} and has {held:,} bytes of "
            "weights; it is damaged or made to fill the memory, so get it again from somebody you "
            "trust."
        )
    numbers = []

    def count():
        # What cannot be built so is built afterwards, and says itself what is wrong.
        with contextlib.suppress(Exception), keras.StatelessScope(initialize_variables=False):
            numbers.extend(math.prod(weight.shape) for weight in build().weights)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    thread.join()
    check_size(path, "its network", 4 * sum(numbers), held)


def _integers(config: Any, name: str = "") -> Iterator[int]:
    """All integers of a configuration but seeds and Keras' marks of what is shared: no sizes."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _integers(value, key)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _integers(value, name)
    elif isinstance(config, int) and name not in ("seed", "shared_object_id"):
        yield config
