"""Pictures of every kind through every reader: the same pixels, or the same sentence."""

import io
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from keras_mtl import pictures
from tests import small

pytestmark = pytest.mark.once("torch", "reading knows no backend")

EXAMPLES = Path(__file__).parents[1] / "examples"
HEIGHT, WIDTH = 24, 32


def pixels(channels=3):
    """Blocks of colours, which JPEG keeps roughly."""
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, channels), "uint8")
    return np.kron(blocks, np.ones((4, 4, 1), "uint8"))


RGB = Image.fromarray(pixels())
ALPHA = Image.fromarray(pixels(4))
WIDE = pixels()[..., 0].astype("uint16") * 256 + 99


def encoded(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def turned(format, orientation, **options):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(RGB, format, exif=exif, **options)


def wide_png(image):
    import tensorflow as tf  # Pillow writes no colours of 16 bits

    return tf.io.encode_png(np.asarray(image).astype("uint16") * 256 + 99).numpy()


def frames(format, **options):
    return encoded(RGB, format, save_all=True, append_images=[ImageOps.mirror(RGB)], **options)


def grey(picture):
    return np.repeat(np.asarray(picture)[..., None], 3, axis=-1)


def upright(orientation):
    exif = RGB.copy()
    exif.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(exif))


# Name of the file: what is in it, and its pixels if no decoder may choose them.
KINDS = {
    "plain.jpg": (encoded(RGB, "JPEG"), None),
    "halved.jpg": (encoded(RGB, "JPEG", subsampling="4:2:0", quality=60), None),
    "progressive.jpg": (encoded(RGB, "JPEG", progressive=True), None),
    "grey.jpg": (encoded(RGB.convert("L"), "JPEG"), None),
    "cmyk.jpg": (encoded(RGB.convert("CMYK"), "JPEG"), None),
    **{f"turned{k}.png": (turned("PNG", k), upright(k)) for k in range(1, 9)},
    "turned.jpg": (turned("JPEG", 6), None),
    "turned.tif": (turned("TIFF", 8), upright(8)),
    "turned.webp": (turned("WEBP", 5, lossless=True), upright(5)),
    "plain.png": (encoded(RGB, "PNG"), pixels()),
    "grey.png": (encoded(RGB.convert("L"), "PNG"), grey(RGB.convert("L"))),
    "bits.png": (encoded(RGB.convert("1"), "PNG"), grey(RGB.convert("1")) * np.uint8(255)),
    "palette.png": (encoded(RGB.quantize(9), "PNG"), np.asarray(RGB.quantize(9).convert("RGB"))),
    "see-through-palette.png": (
        encoded(RGB.quantize(9), "PNG", transparency=bytes(range(9))),
        np.asarray(RGB.quantize(9).convert("RGB")),
    ),
    "alpha.png": (encoded(ALPHA, "PNG"), pixels(4)[..., :3]),
    "grey-alpha.png": (
        encoded(Image.merge("LA", ALPHA.split()[2:]), "PNG"),
        grey(pixels(4)[..., 2]),
    ),
    "wide-grey.png": (encoded(Image.fromarray(WIDE), "PNG"), grey(pixels()[..., 0])),
    "wide.png": (wide_png(RGB), pixels()),
    "wide-alpha.png": (wide_png(ALPHA), pixels(4)[..., :3]),
    "wide.tif": (encoded(Image.fromarray(WIDE), "TIFF"), grey(pixels()[..., 0])),
    "big-endian.tif": (
        encoded(Image.fromarray(WIDE.astype(">u2")), "TIFF"),
        grey(pixels()[..., 0]),
    ),
    "wide.pgm": (
        b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + WIDE.astype(">u2").tobytes(),
        grey(pixels()[..., 0]),
    ),
    "cmyk.tif": (encoded(RGB.convert("CMYK"), "TIFF"), None),
    "plain.bmp": (encoded(RGB, "BMP"), pixels()),
    "webp.jpg": (encoded(RGB, "WEBP", lossless=True), pixels()),  # by another name
    "png.JPG": (encoded(RGB, "PNG"), pixels()),
    "moves.gif": (frames("GIF"), pixels()),
    "moves.png": (frames("PNG"), pixels()),
    "moves.webp": (frames("WEBP", lossless=True), pixels()),
}


def huge(height, width):
    """A file that declares a size and holds one row."""
    pgm = b"P5 %d %d 255\n" % (width, height)
    return pgm + bytes(width)


UNREADABLE = {
    "floats.tif": (
        encoded(Image.fromarray(np.float32(pixels()[..., 0])), "TIFF"),
        "it holds floats",
    ),
    "long.tif": (
        encoded(Image.fromarray(np.int32(pixels()[..., 0])), "TIFF"),
        "it holds numbers of",
    ),
    "empty.png": (b"", "cannot be read as an image: it is no AVIF"),
    "notes.jpg": (b"no picture", "cannot be read as an image: it is no AVIF"),
    "cut.jpg": (encoded(RGB, "JPEG")[:-200], "cannot be read as an image: image file is trunc"),
    "cut.png": (encoded(RGB, "PNG")[:150], "cannot be read as an image: "),
    "large.pgm": (huge(9_000, 10_000), "large.pgm is 9000x10000 .* 50 million that are read"),
    "huge.pgm": (huge(60_000, 60_000), "huge.pgm has more than 100 million .* the 50 million that"),
}


def written(folder, name):
    content, *_ = {**KINDS, **UNREADABLE}[name]
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("name", KINDS)
def test_pixels(tmp_path, name, recwarn):
    path, (content, expected) = written(tmp_path, name), KINDS[name]
    found = pictures.read_photograph(path)
    assert found.dtype == "uint8" and found.shape[-1] == 3
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pictures.read_photograph(image), found)
    np.testing.assert_array_equal(pictures.read_photograph(io.BytesIO(content), name), found)
    assert not recwarn.list


@pytest.mark.parametrize("name", UNREADABLE)
def test_sentences(tmp_path, name, recwarn):
    path = written(tmp_path, name)
    with pytest.raises(pictures.PictureError, match=UNREADABLE[name][1]) as refused:
        pictures.read_photograph(path)
    said = str(refused.value)
    assert said.startswith(str(path)) and said.endswith(".") and "\n" not in said
    assert not recwarn.list


def test_every_reader_reads_the_same(tmp_path, monkeypatch, recwarn):
    """What is trained on, evaluated, predicted and served: of every kind of file the same."""
    import keras_mtl
    from keras_mtl.data.folders import prepare_folder

    for part in ("images", "sal"):
        (tmp_path / "mine" / part).mkdir(parents=True)
    expected = {}
    for name in KINDS:
        one = f"{name.replace('.', '-')}{Path(name).suffix}"
        path = written(tmp_path, name).rename(tmp_path / "mine" / "images" / one)
        expected[path.stem] = pictures.read_photograph(path)
        label = np.zeros(expected[path.stem].shape[:2], "uint8")
        Image.fromarray(label).save(tmp_path / "mine" / "sal" / f"{path.stem}.png")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import reading

    tasks = keras_mtl.tasks.pascal_context("sal")
    model = keras_mtl.MultiTaskBaseline(small.vit((HEIGHT, WIDTH)), tasks, head_width=4)
    for path in (tmp_path / "mine" / "images").iterdir():
        np.testing.assert_array_equal(reading.read(path), expected[path.stem])
        by_path, by_array = model.predict_maps([path, expected[path.stem]])
        np.testing.assert_array_equal(by_path["sal"], by_array["sal"])
    folder = prepare_folder(tmp_path / "mine", tmp_path, "stored", val_share=0.2)
    found = {}
    for split in ("train", "val"):
        for example in keras_mtl.data.examples(folder, split, tasks=tasks):
            found[example["id"].numpy().decode()] = example["image"].numpy()
    assert found.keys() == expected.keys() and len(found) >= 30
    for stem, image in found.items():
        np.testing.assert_array_equal(image, expected[stem], err_msg=stem)


@pytest.mark.parametrize("name", UNREADABLE)
def test_no_reader_reads_it(tmp_path, name, monkeypatch):
    import keras_mtl
    from keras_mtl.data.folders import prepare_folder

    monkeypatch.syspath_prepend(str(EXAMPLES))
    import reading

    for part in ("images", "sal"):
        (tmp_path / part).mkdir()
    path = written(tmp_path, name).rename(tmp_path / "images" / name)
    with pytest.raises(Exception):  # noqa: B017  (serve.py makes one sentence of any)
        reading.read(path)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "sal" / f"{path.stem}.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "other.png")
    with pytest.raises(pictures.PictureError, match=UNREADABLE[name][1]):
        prepare_folder(tmp_path, tmp_path / "out", "stored")
    model = keras_mtl.MultiTaskBaseline(small.vit((8, 8)), keras_mtl.tasks.nyud("depth"))
    with pytest.raises(pictures.PictureError, match=UNREADABLE[name][1]):
        model.predict_maps(path)


def test_no_file(tmp_path):
    with pytest.raises(pictures.PictureError, match="There is no file .*none.png"):
        pictures.read_photograph(tmp_path / "none.png")
    with pytest.raises(pictures.PictureError, match="cannot be read as an image: Is a directory"):
        pictures.read_photograph(tmp_path)


def test_a_picture_as_it_is_stored(tmp_path):
    with pictures.open_picture(written(tmp_path, "palette.png")) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(RGB.quantize(9)))
    with pictures.open_picture(written(tmp_path, "wide-grey.png")) as image:
        np.testing.assert_array_equal(np.asarray(image), WIDE)
    with pytest.raises(pictures.PictureError, match="large.pgm is 9000x10000"):
        pictures.open_picture(written(tmp_path, "large.pgm"))


def test_arrays():
    flat = pixels()[..., 0]
    for given, expected in (
        (pixels(), pixels()),
        (pixels(4), pixels(4)[..., :3]),
        (flat, grey(flat)),
        (flat[..., None], grey(flat)),
        (flat > 127, grey(flat > 127) * np.uint8(255)),
        (pixels() / 2, pixels() / 2),
        (keras.ops.convert_to_tensor(pixels()), pixels()),
    ):
        np.testing.assert_array_equal(pictures.as_photograph(given), expected)
    for given, problem in (
        (flat.tolist(), "A photograph is a list; expected an array"),
        (None, "A photograph is a NoneType"),
        (np.zeros((4, 5, 2)), r"has shape \(4, 5, 2\)"),
        (np.zeros((0, 5, 3)), r"has shape \(0, 5, 3\)"),
        (WIDE, "holds numbers from .* take the upper 8"),
        (np.full((4, 5, 3), np.nan), "holds NaN or infinity"),
        (np.full((4, 5, 3), "x"), "has dtype <U1"),
    ):
        with pytest.raises(ValueError, match=problem):
            pictures.as_photograph(given)
