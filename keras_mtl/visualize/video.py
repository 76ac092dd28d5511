"""Predictions of videos: every frame beside a picture of each of its maps."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from keras_mtl import files

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
WIDEST = 640  # pixels of a frame in a video of panels, which is three frames wide
UNSPECIFIED = 2  # FFmpeg's number of a colour space that a video does not name
HD = 720  # rows from which players take a video without tags of colour for BT.709


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
    """Predicts every frame of a video and writes a video of panels, shown at the same times.

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
    return _write(Path(target), pictures, stream.average_rate or 25, stream.time_base)


def frames(source) -> Iterator[tuple[int, np.ndarray]]:
    """The frames one by one: when each is shown, from 0 on, in the video's own unit of time, and
    its picture, `(H, W, 3)` uint8 RGB, upright and at most `WIDEST` wide.

    Colours are converted as the video's tags say, or as players do where it has none.

    Args:
        source: of `opened`.
    """
    import av
    from av.video.reformatter import Colorspace

    stream = source.streams.video[0]
    usual = max(1, round(1 / ((stream.average_rate or 25) * stream.time_base)))
    first, last = None, -usual
    try:
        for frame in source.decode(video=0):
            if frame.pts is not None and first is None:
                first = frame.pts - (last + usual)
            # Some files name no times, or the same one twice.
            last = last + usual if frame.pts is None else max(frame.pts - first, last + 1)
            width = min(frame.width, WIDEST)
            height = max(1, round(frame.height * width / frame.width))
            space = frame.colorspace
            if space == UNSPECIFIED:
                space = Colorspace.ITU709 if frame.height >= HD else Colorspace.ITU601
            picture = frame.reformat(width, height, format="rgb24", src_colorspace=space)
            yield last, np.rot90(picture.to_ndarray(), frame.rotation // 90)
    except av.FFmpegError as error:
        raise ValueError(f"{source.name} is broken as a video: {error.strerror}.") from None


def panels(
    model, frames: Iterable[tuple[int, np.ndarray]], batch_size: int = 4
) -> Iterator[tuple[int, np.ndarray]]:
    """Each frame and a picture of each of its maps, named, three beside each other.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        frames: times and arrays `(H, W, 3)`, uint8 RGB.
        batch_size: frames that run through the network at a time.

    Returns:
        The same times, and the panels.
    """
    frames = iter(frames)
    while batch := list(islice(frames, batch_size)):
        found = model.predict_maps([frame for _, frame in batch], batch_size)
        for (time, frame), maps in zip(batch, found, strict=True):
            pictures = [frame, *(task.draw(maps[task.name], frame) for task in model.tasks)]
            names = ["video", *(task.name for task in model.tasks)]
            tiles = [_named(tile, name) for tile, name in zip(pictures, names, strict=True)]
            tiles += [np.zeros_like(frame)] * (-len(tiles) % 3)
            rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
            yield time, np.vstack(rows)


def _named(picture: np.ndarray, name: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((4, 2), name, "white", stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def _write(target: Path, pictures: Iterator[tuple[int, np.ndarray]], rate, time_base) -> int:
    """Encodes pictures of one size as they come; the file has its name when it is whole."""
    import av
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    files.make_folder(target.parent)
    count = 0
    with files.whole(target) as fresh:
        with av.open(fresh, "w", format="mp4") as video:
            stream = video.add_stream("libx264", rate=rate)
            stream.pix_fmt = "yuv420p"  # what every player shows
            encoder = stream.codec_context
            encoder.max_b_frames = 0  # with them the last frame written is not the last one shown
            usual = max(1, round(1 / (rate * time_base)))
            encoder.time_base = stream.time_base = time_base
            encoder.colorspace, encoder.color_primaries = Colorspace.ITU709, ColorPrimaries.BT709
            encoder.color_trc, encoder.color_range = ColorTrc.BT709, ColorRange.MPEG
            for count, (time, picture) in enumerate(pictures, start=1):
                if count == 1:  # H.264 takes even sides
                    stream.height, stream.width = (side // 2 * 2 for side in picture.shape[:2])
                picture = np.ascontiguousarray(picture[: stream.height, : stream.width])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
                frame.pts, frame.time_base = time, time_base
                video.mux(_lasting(stream.encode(frame), usual))
            if count:
                video.mux(_lasting(stream.encode(), usual))
        if not count:
            raise ValueError("The video has no frame that can be read.")
    return count


def _lasting(packets: list, duration: int) -> list:
    """The packets, of which the last tells how long the video is."""
    for packet in packets:
        packet.duration = duration
    return packets
