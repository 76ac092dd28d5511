"""Videos of panels: the times and the colours of what is predicted."""

from fractions import Fraction

import numpy as np
import pytest

import keras_mtl
from keras_mtl.visualize import video
from tests import small

pytestmark = pytest.mark.once("torch", "videos know no backend")

av = pytest.importorskip("av")

MILLISECONDS = Fraction(1, 1000)
RED, GREEN = (200, 40, 30), (20, 180, 60)


def write(path, codec, times, picture, **context):
    with av.open(path, "w") as film:
        stream = film.add_stream(codec, rate=10)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = MILLISECONDS
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for time in times:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=context.get("colorspace") or 5)
            frame.pts, frame.time_base = int(time), MILLISECONDS
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


@pytest.fixture(scope="module")
def model():
    return keras_mtl.MultiTaskBaseline(
        small.vit((16, 16)), keras_mtl.tasks.nyud("depth"), head_width=4
    )


@pytest.mark.parametrize("name, codec", [("a.mkv", "libx264"), ("a.webm", "libvpx")])
def test_irregular_times_are_kept(model, tmp_path, name, codec):
    draw = np.random.default_rng(0)
    times = np.r_[0, np.sort(draw.choice(np.arange(1, 2950), 28, replace=False)), 2967]
    write(tmp_path / name, codec, times, np.full((32, 48, 3), 90, "uint8"))
    with video.opened(tmp_path / name) as source:
        assert video.save_video(model, source, tmp_path / "panels.mp4") == 30
    with av.open(tmp_path / "panels.mp4") as film:
        found = [frame.time for frame in film.decode(video=0)]
        np.testing.assert_allclose(found, times / 1000, atol=5e-4)
        assert 2.967 <= film.duration / av.time_base <= 3.1


@pytest.mark.parametrize("tag", [1, 5])  # BT.709 and BT.601
def test_colours_are_converted_by_the_tag(model, tmp_path, tag):
    picture = np.zeros((32, 48, 3), "uint8")
    picture[:, :24], picture[:, 24:] = RED, GREEN
    write(tmp_path / "a.mp4", "libx264", [0, 40], picture, colorspace=tag)
    with video.opened(tmp_path / "a.mp4") as source:
        video.save_video(model, source, tmp_path / "panels.mp4")
    with av.open(tmp_path / "panels.mp4") as film:
        context = film.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc
        assert tags == (1, 1, 1) and context.color_range == 1
        shown = next(film.decode(video=0)).reformat(format="rgb24", src_colorspace=1)
        shown = shown.to_ndarray()
    np.testing.assert_allclose(shown[24, 8], RED, atol=8)
    np.testing.assert_allclose(shown[24, 40], GREEN, atol=8)


def test_without_tags_hd_is_taken_for_709(tmp_path):
    for rows, tag in ((32, 5), (video.HD, 1)):
        picture = np.full((rows, 48, 3), RED, "uint8")
        with av.open(tmp_path / "a.mkv", "w") as film:
            stream = film.add_stream("ffv1", rate=10)
            stream.height, stream.width, stream.pix_fmt = rows, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=tag)
            frame.colorspace = video.UNSPECIFIED
            film.mux(stream.encode(frame))
            film.mux(stream.encode())
        with video.opened(tmp_path / "a.mkv") as source:
            ((time, shown),) = video.frames(source)
        assert time == 0
        np.testing.assert_allclose(shown[8, 8], RED, atol=4)
