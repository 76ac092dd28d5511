"""Folders that keras-hub writes, at their own and at other image sizes."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import SwinTransformer, feature_pyramid, from_preset
from keras_mtl.backbones.keras_hub import position_embedding
from keras_mtl.backbones.vision_transformer import resize_bicubic

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]

SHAPE = (40, 64, 3)
ODD = (33, 50, 3)
SQUARE = (56, 56, 3)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("vit", SHAPE),
        ("swin", ODD),
        ("dinov2", SQUARE),
        ("dinov2", SHAPE),
        ("dinov3", SHAPE),
        ("resnet", (64, 96, 3)),
        ("efficientnet", (64, 96, 3)),
    ],
)
def test_keras_hubs_folders(shared, presets, kind, shape):
    folder, backbone = presets(kind)
    native = from_preset(str(folder))
    if kind == "swin":
        assert isinstance(native, SwinTransformer) and native.image_shape == (32, 32, 3)
        native = native.backbone
    assert type(native) is type(backbone) and native is not backbone
    for found, expected in zip(native.weights, backbone.weights, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))
    images = shared.random_images(1, 32, 32, 3)
    shared.assert_close(
        shared.output(native, images), shared.output(backbone, images), f"native {kind}"
    )

    resized = from_preset(folder, image_shape=shape)
    pyramid = feature_pyramid(resized, shape if kind == "efficientnet" else None)
    assert pyramid.image_shape == shape
    features = pyramid(shared.random_images(1, *shape), training=False)
    for stride, x in features.items():
        assert tuple(x.shape[1:3]) == tuple(-(-length // stride) for length in shape[:2])
        assert np.isfinite(ops.convert_to_numpy(x)).all()
    weights = resized.backbone.weights if kind == "swin" else resized.weights
    for found, expected in zip(weights, backbone.weights, strict=True):
        found, expected = (ops.convert_to_numpy(weight) for weight in (found, expected))
        if found.shape != expected.shape:
            assert kind in ("vit", "dinov2")
            table = expected.reshape(-1, 8)
            size = [length // 8 for length in shape[:2]]
            grid = resize_bicubic(table[1:].reshape(4, 4, 8), size).reshape(-1, 8)
            expected = np.concatenate([table[:1], grid]).reshape(found.shape)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [SQUARE, SHAPE])
def test_resized_dinov2_is_the_same_from_a_file(shared, presets, tmp_path, shape):
    """keras-hub would resize its table anew, and otherwise on each backend."""
    backbone = from_preset(presets("dinov2")[0], image_shape=shape)
    backbone.save_to_preset(str(tmp_path / "saved"))
    again = from_preset(tmp_path / "saved")
    assert type(again) is type(backbone)
    for found, expected in zip(shared.values(again), shared.values(backbone), strict=True):
        np.testing.assert_array_equal(found, expected)
    images = shared.random_images(1, *shape)
    np.testing.assert_array_equal(shared.output(again, images), shared.output(backbone, images))
    square = from_preset(tmp_path / "saved", image_shape=(24, 24, 3))  # and from there to another
    assert shared.output(square, shared.random_images(1, 24, 24, 3)).shape == (1, 3 * 3 + 3, 8)


def test_class_token_can_be_dropped(shared, presets):
    folder, backbone = presets("vit")
    without = from_preset(folder, use_class_token=False)
    images = shared.random_images(1, 32, 32, 3)
    assert len(without.weights) == len(backbone.weights) - 1
    assert shared.output(without, images).shape == (1, 16, 8)
    table, whole = (
        ops.convert_to_numpy(position_embedding(model).embeddings) for model in (without, backbone)
    )
    np.testing.assert_array_equal(table, whole[1:])


def test_windows_of_another_size(shared, presets, caplog):
    folder, backbone = presets("swin")
    with caplog.at_level("INFO", logger="keras_mtl"):
        pyramid = from_preset(folder, image_shape=ODD, window_size=6, drop_path=0.0)
    assert "windows of 4 to windows of 6" in caplog.text
    assert pyramid.backbone.window_size == 6 and pyramid.backbone.drop_path == 0.0
    for found, expected in zip(pyramid.backbone.weights, backbone.weights, strict=True):
        found, expected = (ops.convert_to_numpy(weight) for weight in (found, expected))
        if found.shape != expected.shape:
            grid = resize_bicubic(expected.reshape(7, 7, -1), (11, 11))
            expected = grid.reshape(121, -1)
        np.testing.assert_array_equal(found, expected)
    assert all(
        np.isfinite(x).all()
        for x in map(ops.convert_to_numpy, pyramid(shared.random_images(1, *ODD)).values())
    )


def test_what_is_resized_is_logged(presets, caplog):
    with caplog.at_level("INFO", logger="keras_mtl"):
        from_preset(presets("vit")[0], image_shape=(32, 32, 3))
    assert not caplog.text
    with caplog.at_level("INFO", logger="keras_mtl"):
        from_preset(presets("vit")[0], image_shape=SHAPE)
    assert "from 4x4 to 5x8 patches" in caplog.text


@pytest.mark.parametrize("kind", ["vit", "swin", "dinov2", "resnet"])
def test_spoilt_weights_of_keras_hub(shared, preset, kind):
    import h5py

    folder = preset(kind)
    weights = folder / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    shared.refused("model.weights.h5 is broken or only part of a file", folder)
    weights.unlink()
    shared.refused("has no weights: there is no model.weights.h5", folder)

    weights.write_bytes(whole)
    with h5py.File(weights, "r+") as file:
        names = []
        file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
        file[names[0]][...] = np.nan
    shared.refused("model.weights.h5 holds nan in .*; expected finite numbers", folder)
    with h5py.File(weights, "r+") as file:
        del file[names[0]]
    shared.refused(
        "lacks, or has in another size, .* of the .*Backbone that its config.json", folder
    )


def test_what_keras_hubs_file_lacks_is_listed(shared, preset):
    import h5py

    folder = preset("vit")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file["layers/vi_t_encoder/layer_norm"]
    shared.refused(
        "another size, vit_encoder/ln/gamma, vit_encoder/ln/beta of the ViTBackbone", folder
    )


def test_what_keras_hubs_file_has_left_over(shared, preset):
    """Keras itself reads on over it."""
    import h5py

    folder = preset("vit")
    shared.change(folder, num_layers=1)
    shared.refused("holds 38 arrays, and the ViTBackbone .* takes 22", folder)
    folder = preset("swin")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file.copy("layers/layer_normalization", "layers/extra")
    shared.refused("holds 63 arrays, and the SwinTransformerBackbone .* takes 61", folder)


def test_weights_of_another_size(shared, preset):
    folder = preset("vit")
    shared.change(folder, hidden_dim=16)
    shared.refused(
        r"another size, .*patch_embedding/kernel, .* and \d+ more of the ViTBackbone", folder
    )


def test_weights_in_several_files(shared, presets, tmp_path):
    _, backbone = presets("vit")
    backbone.save_to_preset(str(tmp_path / "parts"), max_shard_size=1e-5)  # 10 kB
    assert len(list((tmp_path / "parts").glob("*.h5"))) > 1
    for found, expected in zip(
        shared.values(from_preset(tmp_path / "parts")), shared.values(backbone), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    next((tmp_path / "parts").glob("*1.weights.h5")).unlink()
    shared.refused("model.weights.json is broken or only part of a file", tmp_path / "parts")


def test_no_class_token_to_keep(shared, presets, tmp_path):
    from_preset(presets("vit")[0], use_class_token=False).save_to_preset(str(tmp_path / "without"))
    shared.refused("has no class token", tmp_path / "without", use_class_token=True)
