"""Generated rooms: pictures of furnished rooms with exact labels, from a seed alone."""

from keras_mtl.rooms.scenes import NO_PERSON, arrays, boundaries, dataset, render

__all__ = ["NO_PERSON", "arrays", "boundaries", "dataset", "render"]
