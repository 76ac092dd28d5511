"""Files of labels: the numbers that are stored in them, in every format, and what is refused."""

import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from keras_mtl.data.label_files import read_label_file

pytestmark = pytest.mark.once("torch", "reading files knows no backend")

IDS = np.array([[0, 1, 2], [3, 9, 15]], "uint8")


def with_palette(path):
    image = Image.fromarray(IDS, "P")
    image.putpalette([20 * (i // 3) % 256 for i in range(48)])
    image.save(path)


def a_grey_png_of_4_bits(path):
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes([row[0] << 4 | row[1], row[2] << 4]) for row in IDS.tolist())
    header = struct.pack(">IIBBBBB", 3, 2, 4, 0, 0, 0, 0)
    pieces = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*piece) for piece in pieces))


def a_float_map(header, order):
    numbers = IDS[::-1].astype(f"{order}f4").tobytes()
    return lambda path: path.write_bytes(header + numbers)


def in_hdf5(path):
    with h5py.File(path, "w") as file:
        file["dataset"] = IDS


def saved(values=IDS, **how):
    return lambda path: Image.fromarray(values).save(path, **how)


PGM = b"P5\n# by hand\n3 2\n40\n"
KINDS = {
    "a.png": saved(),
    "16.png": saved(IDS.astype("uint16")),
    "p.png": with_palette,
    "4.png": a_grey_png_of_4_bits,
    "a.tif": saved(),
    "lzw.tiff": saved(compression="tiff_lzw"),
    "16.tif": saved(IDS.astype("uint16")),
    "32.tif": saved(IDS.astype("int32")),
    "f.tif": saved(IDS.astype("float32")),
    "a.bmp": saved(),
    "p.bmp": with_palette,
    "40.pgm": lambda path: path.write_bytes(PGM + IDS.tobytes()),
    "300.pgm": lambda path: path.write_bytes(b"P5 3 2 300\n" + IDS.astype(">u2").tobytes()),
    "text.pgm": lambda path: path.write_text("P2 3 2 40\n0 1 2\n3 9 15\n"),
    "pgm.png": lambda path: path.write_bytes(PGM + IDS.tobytes()),
    "a.npy": lambda path: np.save(path, IDS),
    "little.pfm": a_float_map(b"Pf\n3 2\n-1.0\n", "<"),
    "big.pfm": a_float_map(b"Pf\n3 2\n1.0\n", ">"),
    "a.hdf5": in_hdf5,
}


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_those_stored(tmp_path, name):
    KINDS[name](tmp_path / name)
    found = read_label_file(tmp_path / name)
    np.testing.assert_array_equal(found, IDS)
    if name.startswith("16"):
        assert found.dtype == np.uint16


def test_a_bit_is_0_or_1(tmp_path):
    mask = IDS > 2
    for name in ("a.png", "a.tif", "a.bmp"):
        Image.fromarray(mask).save(tmp_path / name)
        np.testing.assert_array_equal(read_label_file(tmp_path / name), mask.astype("uint8"))


def test_the_scale_of_a_float_map_multiplies(tmp_path):
    path = tmp_path / "a.pfm"
    a_float_map(b"Pf\n3 2\n-0.001\n", "<")(path)
    np.testing.assert_allclose(read_label_file(path), IDS / 1000, rtol=1e-6)
    colours = np.arange(18, dtype="<f4").reshape(2, 3, 3)
    path.write_bytes(b"PF 3 2 -1 " + colours[::-1].tobytes())
    np.testing.assert_array_equal(read_label_file(path), colours)


def test_openexr(tmp_path):
    path = tmp_path / "a.exr"
    exr = pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    depth = np.array([[1.5, 2.25, np.inf]], "float32")
    vectors = np.arange(9, dtype="float32").reshape(1, 3, 3)
    xyz = {name: vectors[..., i].copy() for i, name in enumerate("XYZ")}
    for channels, expected in (
        ({"Z": depth}, depth),
        ({"Y": depth.astype("float16")}, depth),
        ({"RGB": vectors}, vectors),
        (xyz, vectors),
    ):
        with exr.File(dict(header), channels) as file:
            file.write(str(path))
        np.testing.assert_array_equal(read_label_file(path), expected)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="a.exr cannot be read"):
        read_label_file(path)


def test_openexr_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01")
    with pytest.raises(ImportError, match=r'a.exr is OpenEXR, .* pip install "keras-mtl\[exr\]"'):
        read_label_file(tmp_path / "a.exr")


def two_frames(path):
    frames = [Image.fromarray(IDS), Image.fromarray(IDS + 1)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def two_arrays(path):
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = IDS, IDS


REFUSED = {
    "a.png": (saved(format="JPEG"), "is a JPEG picture, which changes numbers; store .* PNG"),
    "w.png": (saved(format="WEBP", lossless=True), "is a WEBP picture"),
    "p.gif": (with_palette, "is a GIF picture"),
    "two.tif": (two_frames, "holds 2 pictures; store one"),
    "white.tif": (saved(tiffinfo={262: 0}), "stores white as 0"),
    "cut.pgm": (lambda path: path.write_bytes(PGM + b"12"), r"cannot be read \(it ends early\)"),
    "more.pgm": (lambda path: path.write_bytes(PGM + bytes([50] * 6)), "more than the largest"),
    "large.pgm": (lambda path: path.write_bytes(b"P5 99999 99999 255\n"), "more than the 50 mill"),
    "cut.pfm": (lambda path: path.write_bytes(b"Pf 3 2 -1.0\n123"), "ends early"),
    "large.pfm": (lambda path: path.write_bytes(b"Pf 99999 99999 -1.0\n"), "more than the 50 mill"),
    "zero.pfm": (
        lambda path: path.write_bytes(b"Pf 3 2 0.0\n" + bytes(24)),
        "scale is 0; expected",
    ),
    "two.hdf5": (two_arrays, "does not hold one array"),
    "text.npy": (
        lambda path: np.save(path, np.array([["a"]])),
        "expected an array of real numbers",
    ),
    "none.tif": (lambda path: path.write_bytes(b"no picture"), "cannot be read as an image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sentences(tmp_path, name):
    write, problem = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=problem) as refused:
        read_label_file(tmp_path / name)
    said = str(refused.value)
    assert said.startswith(str(tmp_path / name)) and said.endswith(".") and "\n" not in said
