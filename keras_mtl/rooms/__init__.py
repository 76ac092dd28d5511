"""Generated rooms: pictures of furnished rooms with exact labels, from a seed alone."""

from keras_mtl.rooms.scenes import NO_PERSON, boundaries, render
from keras_mtl.rooms.sets import arrays, dataset

__all__ = ["NO_PERSON", "arrays", "boundaries", "dataset", "render"]
