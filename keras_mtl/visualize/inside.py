"""What a network computes inside for one photograph, and where a map of it lies on the photograph.

A model scales a photograph to fit its own image size and pads it around. Its maps, on whatever
grid, cover that image: `extent` is the rectangle `(top, bottom, left, right)` that a grid covers,
in pixels of the model's image.
"""

import keras
import numpy as np

from keras_mtl.models import MultiTaskModel
from keras_mtl.pictures import as_photograph
from keras_mtl.visualize.panels import rgb


class View:
    """A photograph as a model sees it.

    Args:
        model: a model of this package.
        photograph: as `keras_mtl.pictures.as_photograph` takes it, of any size.

    Raises:
        ValueError: if the photograph cannot be read, or is no picture.
    """

    def __init__(self, model: MultiTaskModel, photograph):
        self.model = model
        self.photograph = as_photograph(photograph)
        self.image, (top, left, height, width) = model.fit_to_input(self.photograph)
        self.box = (top, top + height, left, left + width)

    def tensors(self, symbolic: list) -> list[np.ndarray]:
        """Values of tensors inside the model, without the batch axis.

        Args:
            symbolic: list of `keras.KerasTensor` of the model's graph.
        """
        inside = keras.Model(self.model.input, symbolic)
        # It would be compiled anew at every call, which takes longer than to compute it.
        inside.run_eagerly = True
        # Of a list of one tensor Keras predicts that tensor, not a list.
        values = keras.tree.flatten(inside.predict_on_batch(self.image[None]))
        return [np.asarray(each[0], "float32") for each in values]

    @property
    def whole(self) -> tuple[float, float, float, float]:
        """The extent of a grid that covers the model's image and no more."""
        height, width = self.image.shape[:2]
        return (0, height, 0, width)

    def cut(self, maps: np.ndarray, extent) -> np.ndarray:
        """The cells of maps `(..., h, w)` that hold some of the photograph."""
        rows, columns = (
            _cells(length, *extent[2 * i : 2 * i + 2], *self.box[2 * i : 2 * i + 2])
            for i, length in enumerate(maps.shape[-2:])
        )
        return maps[..., rows, columns]

    def locate(self, pixel: tuple[int, int]) -> tuple[float, float]:
        """The middle of a pixel of the photograph, in pixels of the model's image."""
        top, bottom, left, right = self.box
        height, width = self.photograph.shape[:2]
        row, column = pixel
        return (
            top + (row + 0.5) * (bottom - top) / height,
            left + (column + 0.5) * (right - left) / width,
        )

    def draw(self, axis, over: np.ndarray, extent, **options):
        """Draws a map `(h, w)` over the photograph; `options` are those of `Axes.imshow`."""
        top, bottom, left, right = self.box
        height, width = self.photograph.shape[:2]
        down, across = height / (bottom - top), width / (right - left)
        y0, y1 = ((y - top) * down for y in extent[:2])
        x0, x1 = ((x - left) * across for x in extent[2:])
        axis.imshow(rgb(self.photograph).mean(-1), cmap="gray", vmin=-128, vmax=255)
        # Matplotlib's pixels have their middle at whole numbers.
        drawn = axis.imshow(
            over,
            extent=(x0 - 0.5, x1 - 0.5, y1 - 0.5, y0 - 0.5),
            interpolation="bilinear",
            alpha=0.6,
            **options,
        )
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
        return drawn


def draw_photograph(axis, view: View):
    """Draws the photograph by itself; returns the axis."""
    axis.imshow(rgb(view.photograph))
    axis.set_title("photograph", fontsize=9)
    axis.axis("off")
    return axis


def _cells(count: int, start: float, stop: float, first: float, last: float) -> slice:
    """Which of `count` equal cells between start and stop overlap the range first to last."""
    size = (stop - start) / count
    return slice(
        max(int(np.floor((first - start) / size)), 0),
        min(int(np.ceil((last - start) / size)), count),
    )
