"""Predictions of videos: every frame beside a picture of each of its maps."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from keras_mtl import files

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
WIDEST = 640  # pixels of a frame in a video of panels, which is three frames wide


@contextmanager
def opened(path: str | Path) -> Iterator:
    """A video to read, as PyAV's container.

    Args:
        path: of a file that FFmpeg reads.

    Raises:
        ValueError: if there is none, or it is no video.
    """
    import av

    try:
        source = av.open(path)
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video: {error.strerror}.") from None
    with source:
        if not source.streams.video:
            raise ValueError(f"{path} holds no video.")
        source.streams.video[0].thread_type = "AUTO"
        yield source


def save_video(model, source, target: str | Path, batch_size: int = 4) -> int:
    """Predicts every frame of a video and writes a video of panels at its frame rate.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        source: of `opened`.
        target: file to write, .mp4; it has its name when it is whole. Its folder is made.
        batch_size: frames that run through the network at a time.

    Returns:
        The number of frames.

    Raises:
        ValueError: if a frame cannot be read.
    """
    from tqdm import tqdm

    stream = source.streams.video[0]
    shown = tqdm(frames(source), unit="frame", total=stream.frames or None, disable=None)
    pictures = panels(model, iter(shown), batch_size)
    return _write(Path(target), pictures, stream.average_rate or 25)


def frames(source) -> Iterator[np.ndarray]:
    """The frames one by one, `(H, W, 3)` uint8 RGB, upright and at most `WIDEST` wide.

    Args:
        source: of `opened`.
    """
    import av

    try:
        for frame in source.decode(video=0):
            width = min(frame.width, WIDEST)
            height = max(1, round(frame.height * width / frame.width))
            picture = frame.reformat(width, height, format="rgb24").to_ndarray()
            yield np.rot90(picture, frame.rotation // 90)
    except av.FFmpegError as error:
        raise ValueError(f"{source.name} is broken as a video: {error.strerror}.") from None


def panels(model, frames: Iterable[np.ndarray], batch_size: int = 4) -> Iterator[np.ndarray]:
    """Each frame and a picture of each of its maps, named, three beside each other.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        frames: arrays `(H, W, 3)`, uint8 RGB.
        batch_size: frames that run through the network at a time.
    """
    frames = iter(frames)
    while batch := list(islice(frames, batch_size)):
        for frame, maps in zip(batch, model.predict_maps(batch, batch_size), strict=True):
            pictures = [frame, *(task.draw(maps[task.name], frame) for task in model.tasks)]
            names = ["video", *(task.name for task in model.tasks)]
            tiles = [_named(tile, name) for tile, name in zip(pictures, names, strict=True)]
            tiles += [np.zeros_like(frame)] * (-len(tiles) % 3)
            rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
            yield np.vstack(rows)


def _named(picture: np.ndarray, name: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((4, 2), name, "white", stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def _write(target: Path, pictures: Iterator[np.ndarray], rate) -> int:
    """Encodes pictures of one size as they come; the file has its name when it is whole."""
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with files.whole(target) as fresh:
        with av.open(fresh, "w", format="mp4") as video:
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
    return count
