"""Predicts every task of a trained model for a photograph, a folder of them, or a video.

    python examples/predict.py runs/taskprompter_nyud/model.keras photo.jpg
    python examples/predict.py runs/taskprompter_nyud/model.keras photos/ --output predicted
    python examples/predict.py runs/taskprompter_nyud/model.keras walk.mp4

Of photo.jpg, of any size, it writes photo-panel.png (the photograph beside a picture of each map)
and photo-maps.npz (class ids, metres, unit vectors, probabilities, boxes); of every photograph in a
folder the same, naming at the end, with exit status 1, what cannot be read; of walk.mp4
walk-panel.mp4: every frame beside its maps, at the video's frame rate.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    parser.add_argument("input", type=Path, help="an image file, a folder of them, or a video")
    parser.add_argument("--output", type=Path, default=Path(), help="folder (default: here)")
    text = "of photographs write NAME-affinity.png too: where a TaskPrompter's prompts look"
    parser.add_argument("--affinity", action="store_true", help=text)
    text = "frames of a video that run through the network at a time (default 4)"
    parser.add_argument("--batch-size", type=int, default=4, help=text)
    text = "of boxes in space: focal lengths, principal point, pixels (default: EXIF's, or a guess)"
    parser.add_argument("--camera", type=float, nargs=4, metavar=("FX", "FY", "U", "V"), help=text)
    options = parser.parse_args()
    if options.batch_size < 1:
        parser.error(f"--batch-size is {options.batch_size}; expected 1 or more.")
    # Keras, which takes seconds to load, once the arguments are right
    from keras_mtl import load_model
    from keras_mtl.commands.command_line import refusals, say
    from keras_mtl.pictures import read_photograph
    from keras_mtl.visualize import predictions, video

    given, out, prompts, lens = options.input, options.output, options.affinity, options.camera
    with refusals(ValueError, OSError):  # what is no picture is found before the model is loaded
        if given.is_dir():
            paths, model = predictions.photographs(given), load_model(options.model)
            count = predictions.save_predictions(model, paths, out, prompts, say, lens)
            print(f"Wrote panels and maps of {count} photographs to {out}/")
            sys.exit(count < len(paths))
        if given.suffix.lower() in video.VIDEOS:
            if prompts:
                raise ValueError("--affinity is for photographs; leave it out for a video.")
            with video.opened(given) as source:
                model, target = load_model(options.model), out / f"{given.stem}-panel.mp4"
                count = video.save_video(model, source, target, options.batch_size)
            return print(f"Wrote {target}: {count} frames")
        photograph, model = read_photograph(given), load_model(options.model)
        (camera, known), stem = predictions.known_camera(model, given, lens), out / given.stem
        maps = predictions.save_prediction(model, photograph, stem, prompts, camera)
        size = "x".join(map(str, photograph.shape[:2])) + known
        print(f"Wrote {stem}-panel.png and {stem}-maps.npz: {', '.join(maps)} at {size}")


if __name__ == "__main__":
    main()
