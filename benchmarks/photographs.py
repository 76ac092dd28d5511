"""What a network that has seen generated rooms alone makes of photographs, beside rooms.

    KERAS_BACKEND=torch python -m benchmarks.photographs --output docs/photographs.png

Draws the maps of a shipped network for photographs that come with scikit-image and for rooms that
it was not trained on.
"""

import argparse
from pathlib import Path

from skimage import data

import keras_mtl
from keras_mtl import rooms
from keras_mtl.visualize.panels import write_figure

PHOTOGRAPHS = {
    "motorcycle": lambda: data.stereo_motorcycle()[0],
    "coffee": data.coffee,
    "astronaut": data.astronaut,
    "cat": data.cat,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="taskprompter_nano_rooms", help="(%(default)s)")
    parser.add_argument("--rooms", type=int, default=2, help="how many (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("photographs.png"), help="the picture")
    options = parser.parse_args()
    model = keras_mtl.MultiTaskModel.from_preset(options.network)
    images = [rooms.render(2, (240, 320), index)["image"] for index in range(options.rooms)]
    images += [take() for take in PHOTOGRAPHS.values()]
    maps = model.predict_maps(images)
    maps = {task.name: [each[task.name] for each in maps] for task in model.tasks}
    figure = keras_mtl.visualize.panel(images, maps, model.tasks, legend=True)
    write_figure(figure, options.output)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
