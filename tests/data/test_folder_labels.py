"""Labels as others store them, as a folder of them is prepared."""

import numpy as np
import pytest
from PIL import Image

from keras_mtl import tasks
from keras_mtl.data import class_names
from keras_mtl.data.depth_units import depth_units
from keras_mtl.data.folder_labels import FolderLabels
from keras_mtl.data.normals_axes import normals_axes

pytestmark = pytest.mark.once("torch", "preparing knows no backend")

STORED = np.array([[1000, 65535, 0], [2000, 8000, 256]], "uint16")


def labels(task, folder, arrays, kind=".png", **how):
    """Of a folder in which labels 0, 1, ... are stored."""
    folder.mkdir(exist_ok=True)
    for i, label in enumerate(arrays):
        if kind == ".npy":
            np.save(folder / f"{i}.npy", label)
        else:
            Image.fromarray(label).save(folder / f"{i}{kind}")
    found = FolderLabels(task, folder, **how)
    found.look()
    return found


# === Depth ===


@pytest.mark.parametrize(
    ("scale", "per_metre"),
    [("1000", 1000), (256, 256), ("tum", 5000), ("ScanNet", 1000), ("kitti", 256)],
)
def test_depth_of_16_bits(tmp_path, scale, per_metre):
    depth = tasks.DepthEstimation()
    for kind in (".png", ".tif", ".npy"):
        found = labels(depth, tmp_path / kind, [STORED], kind, units=depth_units(scale))
        label = found.read("0", 2, 3)
        expected = np.where(STORED == 65535, 0, STORED) / np.float32(per_metre)
        assert label.dtype == np.float32 and label.shape == (2, 3, 1)
        np.testing.assert_allclose(label[..., 0], expected, rtol=1e-6)
        assert "16.7% of the pixels became no label" in " ".join(found.report(1))


def test_depth_of_sun_rgbd(tmp_path):
    millimetres = np.array([[1001, 65535, 0], [2003, 7999, 4]], "uint16")
    turned = (millimetres << 3) | (millimetres >> 13)
    found = labels(tasks.DepthEstimation(), tmp_path, [turned], units=depth_units("sunrgbd"))
    expected = np.where(millimetres == 65535, 0, millimetres) / 1000
    np.testing.assert_allclose(found.read("0", 2, 3)[..., 0], expected, rtol=1e-6)


def test_depth_of_diode(tmp_path):
    depth, units = tasks.DepthEstimation(), depth_units("diode")
    metres = np.array([[[1.5], [2.5]]], "float32")
    with pytest.raises(ValueError, match="depth says nothing without its masks; put .*depth_mask"):
        labels(depth, tmp_path / "depth", [metres], ".npy", units=units)
    (tmp_path / "depth_mask").mkdir()
    np.save(tmp_path / "depth_mask" / "0.npy", np.array([[1.0, 0.0]]))
    for given in (units, None):
        found = labels(depth, tmp_path / "depth", [metres, metres], ".npy", units=given)
        assert found.read("0", 1, 2).tolist() == [[[1.5], [0.0]]]
        with pytest.raises(ValueError, match="1.npy has no mask"):
            found.read("1", 1, 2)


def test_depth_of_hypersim(tmp_path):
    """The distance along each pixel's ray, of a camera whose focal length is known."""
    height, width = 24, 32
    focal = 886.81 / 1024 * width
    depth = np.full((height, width), 2.0, "float32")
    for row in range(height):
        for column in range(width):
            ray = np.array([column + 0.5 - width / 2, row + 0.5 - height / 2, focal])
            depth[row, column] *= np.linalg.norm(ray) / focal
    units = depth_units("hypersim")
    found = labels(tasks.DepthEstimation(), tmp_path, [depth, depth[1:]], ".npy", units=units)
    np.testing.assert_allclose(found.read("0", height, width), 2.0, rtol=1e-6)
    with pytest.raises(ValueError, match="1.npy is 23x32 pixels, but Hypersim's rays are known"):
        found.read("1", 23, 32)


def test_what_is_no_label_of_depth(tmp_path):
    depth = np.array([[np.nan, np.inf, 65.535, 1e10, 0.0, 2.0]], "float32")
    found = labels(tasks.DepthEstimation(), tmp_path, [depth], ".npy")
    assert found.read("0", 1, 6).ravel().tolist() == [0, 0, 0, 0, 0, 2]
    assert "in which 83.3% of the pixels have none" in found.report(1)[0]
    assert "66.7% of the pixels became no label" in found.report(1)[1]


@pytest.mark.parametrize(
    ("label", "scale", "problem"),
    [
        (STORED, None, "holds whole numbers, and no metres; say .* --depth-scale 1000"),
        (STORED.astype("uint8"), "1000", "has 8 bits, which hold no metres; store metres as .npy"),
        (np.dstack([STORED] * 2 + [STORED + 1]).astype("uint8"), "1000", "is in colour"),
        (STORED.astype("int32") * 2, "sunrgbd", "holds no whole numbers of 16 bits"),
    ],
)
def test_pictures_that_are_no_depth(tmp_path, label, scale, problem):
    units = scale and depth_units(scale)
    found = labels(tasks.DepthEstimation(), tmp_path, [label], ".tif", units=units)
    with pytest.raises(ValueError, match=f"0.tif {problem}") as refused:
        found.read("0", 2, 3)
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "kinect", ""])
def test_scales_that_are_none(scale):
    with pytest.raises(ValueError, match="The depth scale is .*or one of tum, scannet"):
        depth_units(scale)


# === Normals ===


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("right up toward", [[0.6, -0.64, -0.48], [0, -0.6, -0.8], [0, 0, 0], [0, 0, 0]]),
        ("left forward up", [[-0.6, -0.48, 0.64], [0, -0.8, 0.6], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_axes_of_normals(tmp_path, axes, expected):
    """Of OpenGL, and exchanged ones; as vectors and as colours alike."""
    normals, axes = tasks.SurfaceNormals(), normals_axes(axes.split())
    vectors = np.array([[[0.6, 0.64, 0.48], [0.0, 0.6, 0.8], [0, 0, 0], [0, 0, 0]]], "float32")
    colours = np.where(vectors.any(-1, keepdims=True), np.round((vectors + 1) * 127.5), 128)
    colours[0, 3] = 255
    found = labels(normals, tmp_path / "a", [vectors], ".npy", axes=axes)
    np.testing.assert_array_equal(found.read("0", 1, 4)[0], np.float32(expected))
    found = labels(normals, tmp_path / "b", [colours.astype("uint8")], axes=axes)
    label = found.read("0", 1, 4)
    assert label.dtype == np.uint8 and not label[0, 2:].any()  # grey and white are none
    np.testing.assert_allclose(normals.unpack(label)[0], expected, atol=0.01)
    assert "50.0% of the pixels became no label" in " ".join(found.report(1))
    np.save(tmp_path / "b" / "1.npy", vectors)  # vectors beside colours
    found = labels(normals, tmp_path / "b", [], axes=axes)
    np.testing.assert_allclose(found.read("0", 1, 4)[0], expected, atol=0.01)


@pytest.mark.parametrize("axes", ["right up", "right left up", "right up up", "up right in"])
def test_axes_that_are_none(axes):
    with pytest.raises(ValueError, match=f"axes of normals are {axes}; expected .* or toward"):
        normals_axes(axes.split())


def test_normals_that_point_away(tmp_path):
    vectors = np.full((1, 3, 3), [0.6, 0.0, 0.8], "float32")
    for kind, label in ((".npy", vectors), (".png", np.round((vectors + 1) * 127.5))):
        label = label.astype("uint8" if kind == ".png" else "float32")
        found = labels(tasks.SurfaceNormals(), tmp_path / kind, [label, label], kind)
        found.read("0", 1, 3), found.read("1", 1, 3)
        assert "of 2 labels: " in found.report(2)[-1]
        assert "normals that point away from the camera" in found.report(2)[-1]
    cube = np.uint8([[[255, 0, 128], [255, 128, 0], [255, 255, 255]]])
    found = labels(tasks.SurfaceNormals(), tmp_path / "cube", [cube])
    with pytest.raises(ValueError, match="holds colours that are no unit vectors: .* length 1.41"):
        found.read("0", 1, 3)
    (tmp_path / ".npy" / "0.npy").rename(tmp_path / "cube" / "0.png")
    with pytest.raises(ValueError, match="0.png holds float32, which its ending does not say"):
        found.read("0", 1, 3)


# === Class ids ===

SEMSEG = tasks.SemanticSegmentation()


def test_classes_are_as_many_as_ids(tmp_path):
    ids = np.array([[0, 1, 2], [255, 2, 1]], "uint8")
    found = labels(SEMSEG, tmp_path, [ids, np.dstack([ids] * 3)], counted=True)
    assert found.task.channels == 3 and found.feature.names == ["0", "1", "2"]
    np.save(tmp_path / "2.npy", ids.astype("float64"))
    found = labels(SEMSEG, tmp_path, [], counted=True)
    assert found.feature.names == ["0", "1", "2"]
    for stem in "012":  # also where grey is stored as colours, or as floats
        np.testing.assert_array_equal(found.read(stem, 2, 3)[..., 0], ids)
    said = " ".join(found.report(2))
    assert "3 classes, for the largest id is 2; " in said and "looks like" not in said
    found = labels(SEMSEG, tmp_path / "grey", [ids[:1] * 100 + 1], counted=True)
    said = " ".join(found.report(1))
    assert "looks like grey levels" in said and "looks like ids that are counted from 1 on" in said


@pytest.mark.parametrize(
    "text", ["soil\ncrop\nweed", "0 soil\n1: crop\n2, weed\n", "\ufeffsoil\r\ncrop\r\nweed"]
)
def test_names_of_classes(tmp_path, text):
    ids = np.array([[0, 1, 0]], "uint8")
    (tmp_path / "classes.txt").write_bytes(text.encode())
    for task in (SEMSEG, tasks.HumanParts()):
        found = labels(task, tmp_path, [ids])
        assert found.feature.names == ["soil", "crop", "weed"] == found.task.labels
    found = labels(SEMSEG, tmp_path, [ids + 2])
    with pytest.raises(ValueError, match="hold the value 3; expected class ids 0 to 2.* from 1 on"):
        found.read("0", 1, 3)
    (tmp_path / "classes.txt").unlink()
    found = labels(tasks.HumanParts(), tmp_path, [ids + 7])
    assert found.task.labels[1] == "head"
    with pytest.raises(ValueError, match="class ids 0 to 6.* Other classes stand in .*classes.txt"):
        found.read("0", 1, 3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty line or the same name"),
        ("soil\n\nweed", "empty line or the same name"),
        ("soil\nsoil", "empty line or the same name"),
        ("1 soil\n2 weed", "numbers classes 1, 2 ...; expected ids from 0 on"),
        ("soil #ff0000\nweed", "gives some classes a colour"),
        ("soil #ff0000\nweed #ff0000", "has the colour #ff0000 twice"),
        ("no label #000000\nweed #ff0000", "has a class after 'no label'"),
        ("no label", "names 0 classes"),
        ("\n".join(map("c{}".format, range(256))), "names 256 classes"),
    ],
)
def test_lists_of_names_that_are_none(tmp_path, text, problem):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=f"classes.txt .*{problem}"):
        class_names.read_classes(tmp_path)


def test_colours_of_classes(tmp_path):
    ids = np.array([[0, 1, 255]], "uint8")
    colours = np.array([[[128, 0, 0], [0, 128, 0], [0, 0, 0]]], "uint8")
    with pytest.raises(
        ValueError, match="0.png has shape .* as colours have; store class ids, one .*classes.txt"
    ):
        labels(SEMSEG, tmp_path, [colours], counted=True)
    (tmp_path / "classes.txt").write_text("soil #800000\nweed #008000\nno label #000000\n")
    alpha = np.full((1, 3, 1), 255, "uint8")
    found = labels(SEMSEG, tmp_path, [colours, np.dstack([colours, alpha]), ids])
    for stem in "012":
        np.testing.assert_array_equal(found.read(stem, 1, 3)[..., 0], ids)
    assert found.task.labels == ["soil", "weed"]
    with pytest.raises(
        ValueError, match="3.png holds the colour #010000 in 2 pixels, which is none"
    ):
        colours[0, :2] = [1, 0, 0]
        labels(SEMSEG, tmp_path, [ids, ids, ids, colours])
    with pytest.raises(ValueError, match="0.png has shape .* store 0 and 1, one number a pixel."):
        labels(tasks.SaliencyDetection(), tmp_path / "sal", [colours])


@pytest.mark.parametrize(
    "task", [SEMSEG, tasks.HumanParts(), tasks.SaliencyDetection(), tasks.BoundaryDetection()]
)
def test_masks_of_0_and_255(tmp_path, task):
    mask = np.array([[0, 255, 0]], "uint8")
    with pytest.raises(ValueError, match="holds the values 0 and 255 alone: .* looks like a mask"):
        labels(task, tmp_path, [mask, mask], counted=True)
    labels(task, tmp_path, [mask, mask // 255])


# === Files ===


def test_files_that_are_not_read(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"")
    (tmp_path / "0.mat").write_bytes(b"")
    with pytest.raises(
        ValueError, match="holds no label file that is read: .*0.jpg is of a format"
    ):
        FolderLabels(SEMSEG, tmp_path)
    (tmp_path / "0.jpg").unlink()
    with pytest.raises(ValueError, match="no label file that is read: .*0.mat is none of .png, .*"):
        FolderLabels(SEMSEG, tmp_path)
    found = labels(SEMSEG, tmp_path, [np.zeros((1, 3), "uint8")])
    assert "files that are not read: 1, for " in " ".join(found.report(1))
