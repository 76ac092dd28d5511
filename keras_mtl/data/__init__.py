"""Data for multi-task dense prediction: prepared datasets and generated rooms, as batches."""

from keras_mtl.data.full_size import examples
from keras_mtl.data.pipeline import load
from keras_mtl.data.sources import tasks_of


def __getattr__(name: str):
    if name == "rooms":  # which are no data read, and so have a package of their own
        from keras_mtl import rooms

        return rooms
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["examples", "load", "rooms", "tasks_of"]
