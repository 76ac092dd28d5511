"""Generated streets: pictures from a car with exact classes, depth and boxes in space."""

from keras_mtl.rooms.streets.scenes import CLASS_IDS, render
from keras_mtl.rooms.streets.sets import arrays

__all__ = ["CLASS_IDS", "arrays", "render"]
