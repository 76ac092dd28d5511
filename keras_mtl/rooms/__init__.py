"""Generated rooms, and streets: pictures with exact labels, from a seed alone."""

from keras_mtl.rooms import streets
from keras_mtl.rooms.scenes import NO_PERSON, boundaries, render
from keras_mtl.rooms.sets import arrays, dataset

__all__ = ["NO_PERSON", "arrays", "boundaries", "dataset", "render", "streets"]
