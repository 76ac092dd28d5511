"""Generated streets: pictures from a car with exact classes, depth and boxes in space."""

from keras_mtl.rooms.streets.scenes import CLASS_IDS, render

__all__ = ["CLASS_IDS", "render"]
