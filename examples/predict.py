"""Predicts every task of a trained model for a photograph, a folder of them, or a video.

    python examples/predict.py runs/taskprompter_nyud/model.keras photo.jpg
    python examples/predict.py runs/taskprompter_nyud/model.keras photos/ --output predicted
    python examples/predict.py runs/taskprompter_nyud/model.keras walk.mp4

Of photo.jpg, of any size, it writes photo-panel.png (the photograph beside a picture of each map)
and photo-maps.npz (the maps themselves: class ids, metres, unit vectors, probabilities); of every
photograph in a folder the same, and one that cannot be read does not keep it from the others. Of
walk.mp4 it writes walk-panel.mp4: every frame beside its maps, at the video's frame rate.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
WIDEST = 640  # pixels of a frame in a video of panels, which is three frames wide


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    parser.add_argument("input", type=Path, help="an image file, a folder of them, or a video")
    text = "folder for what is written (default: here)"
    parser.add_argument("--output", type=Path, default=Path(), help=text)
    text = "of photographs write NAME-affinity.png too: where a TaskPrompter's prompts look"
    parser.add_argument("--affinity", action="store_true", help=text)
    text = "frames of a video that run through the network at a time (default 4)"
    parser.add_argument("--batch-size", type=int, default=4, help=text)
    options = parser.parse_args()
    if options.batch_size < 1:
        parser.error(f"--batch-size is {options.batch_size}; expected 1 or more.")
    try:
        if options.input.is_dir():
            predict_folder(options)
        elif options.input.suffix.lower() in VIDEOS:
            predict_video(options)
        else:
            # Reading it first spares the wait for Keras when it is no photograph.
            photograph = read_photograph(options.input)
            predict(load(options), photograph, options.input.stem, options)
    except ValueError as error:
        sys.exit(f"predict.py: {error}")


def load(options):
    import keras_mtl

    model = keras_mtl.load_model(options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    return model


# === Photographs ===


def predict(model, photograph: np.ndarray, name: str, options) -> None:
    from keras_mtl import visualize

    maps = model.predict_maps(photograph)
    stem = options.output / name
    rows = {name: each[None] for name, each in maps.items()}
    figure = visualize.panel(photograph[None], rows, model.tasks, legend=True)
    figure.savefig(f"{stem}-panel.png", dpi=200)
    np.savez_compressed(f"{stem}-maps.npz", **maps)
    if options.affinity:
        visualize.affinity(model, photograph).savefig(f"{stem}-affinity.png", dpi=200)
    if not options.input.is_dir():
        height, width = photograph.shape[:2]
        print(f"Wrote {stem}-panel.png and {stem}-maps.npz: {', '.join(maps)} at {height}x{width}")


def predict_folder(options) -> None:
    from PIL import Image
    from tqdm import tqdm

    written = ("-panel.png", "-affinity.png")  # by this script
    paths = [
        path
        for path in sorted(options.input.iterdir())
        if path.suffix.lower() in Image.registered_extensions() and not path.name.endswith(written)
    ]
    if not paths:
        raise ValueError(f"There is no image file in {options.input}.")
    stems = [path.stem for path in paths]
    model, broken = load(options), 0
    for path in tqdm(paths, unit="photograph", disable=None):
        try:
            photograph = read_photograph(path)
        except ValueError as error:
            broken += 1
            tqdm.write(f"predict.py: {error}", file=sys.stderr)
            continue
        # a.jpg and a.png are to be told apart.
        predict(model, photograph, path.stem if stems.count(path.stem) == 1 else path.name, options)
    print(f"Wrote panels and maps of {len(paths) - broken} photographs to {options.output}/")
    if broken:
        sys.exit(1)


def read_photograph(path: Path) -> np.ndarray:
    """The image file as `(H, W, 3)` uint8 RGB, upright."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from None


# === Video ===


def predict_video(options) -> None:
    if options.affinity:
        raise ValueError("--affinity is for photographs; leave it out for a video.")
    import av
    from tqdm import tqdm

    try:
        source = av.open(options.input)
    except FileNotFoundError:
        raise ValueError(f"There is no file {options.input}.") from None
    except av.FFmpegError as error:
        raise ValueError(f"{options.input} cannot be read as a video: {error.strerror}.") from None
    with source:
        if not source.streams.video:
            raise ValueError(f"{options.input} holds no video.")
        stream = source.streams.video[0]
        stream.thread_type = "AUTO"
        model = load(options)
        target = options.output / f"{options.input.stem}-panel.mp4"
        frames = tqdm(read_frames(source), unit="frame", total=stream.frames or None, disable=None)
        pictures = panels(model, iter(frames), options.batch_size)
        count = write_video(target, pictures, stream.average_rate or 25)
    print(f"Wrote {target}: {count} frames")


def read_frames(source) -> Iterator[np.ndarray]:
    """The frames one by one, `(H, W, 3)` uint8 RGB, upright and at most `WIDEST` wide."""
    import av

    try:
        for frame in source.decode(video=0):
            width = min(frame.width, WIDEST)
            height = max(1, round(frame.height * width / frame.width))
            picture = frame.reformat(width, height, format="rgb24").to_ndarray()
            yield np.rot90(picture, frame.rotation // 90)
    except av.FFmpegError as error:
        raise ValueError(f"{source.name} is broken as a video: {error.strerror}.") from None


def panels(model, frames: Iterator[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Each frame and a picture of each of its maps, named, three beside each other."""
    while batch := list(islice(frames, batch_size)):
        for frame, maps in zip(batch, model.predict_maps(batch, batch_size), strict=True):
            pictures = [frame, *(task.picture(maps[task.name]) for task in model.tasks)]
            names = ["video", *(task.name for task in model.tasks)]
            tiles = [named(tile, name) for tile, name in zip(pictures, names, strict=True)]
            tiles += [np.zeros_like(frame)] * (-len(tiles) % 3)
            rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
            yield np.vstack(rows)


def named(picture: np.ndarray, name: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((4, 2), name, "white", stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def write_video(target: Path, pictures: Iterator[np.ndarray], rate) -> int:
    """Encodes pictures of one size as they come; the file has its name when it is whole."""
    import av

    unfinished = target.with_name(f".{target.name}")
    count = 0
    try:
        with av.open(unfinished, "w", format="mp4") as video:
            stream = video.add_stream("libx264", rate=rate)
            stream.pix_fmt = "yuv420p"  # what every player shows
            for count, picture in enumerate(pictures, start=1):
                if count == 1:  # H.264 takes even sides
                    stream.height, stream.width = (side // 2 * 2 for side in picture.shape[:2])
                picture = np.ascontiguousarray(picture[: stream.height, : stream.width])
                video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if count:
                video.mux(stream.encode())
        if not count:
            raise ValueError("The video has no frame that can be read.")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


if __name__ == "__main__":
    main()
