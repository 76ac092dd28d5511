"""Data for multi-task dense prediction: prepared datasets and generated rooms, as batches."""

from keras_mtl.data.full_size import examples
from keras_mtl.data.pipeline import load

__all__ = ["examples", "load"]
