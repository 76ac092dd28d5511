"""Pretrained backbones by name or folder: in models, and what is refused of both formats."""

import json

import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import from_preset
from keras_mtl.backbones.keras_hub import blocks_of

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SHAPE = (40, 64, 3)


def test_names_are_downloaded(presets, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")
    asked = []

    def download(handle):
        asked.append(handle)
        return str(presets("vit")[0])

    monkeypatch.setattr(kagglehub, "model_download", download)
    backbone = from_preset("vit_large_patch16_384_imagenet", image_shape=SHAPE)
    assert backbone.image_shape == SHAPE
    assert asked[0].startswith("keras/vit/keras/vit_large_patch16_384_imagenet")


def test_task_prompter_on_a_preset(shared, presets):
    folder, backbone = presets("vit")
    model = keras_mtl.TaskPrompter(
        from_preset(folder, image_shape=(32, 48, 3)),
        [keras_mtl.tasks.DepthEstimation()],
        channel_windows=(1, 1),
        prompting_levels=1,
        decode_dim=4,
    )
    maps = model.predict_on_batch(shared.random_images(1, 32, 48, 3))
    assert maps["depth"].shape == (1, 32, 48, 1) and np.isfinite(maps["depth"]).all()
    kernel = blocks_of(backbone)[1].mlp.dense_1.kernel
    kernel = ops.convert_to_numpy(kernel)
    assert any(
        np.array_equal(ops.convert_to_numpy(weight), kernel) for weight in model.trainable_weights
    )


def test_tpanet_on_a_preset(shared, presets):
    folder, backbone = presets("swin of four stages")
    model = keras_mtl.TPANet(
        from_preset(folder, image_shape=(32, 48, 3)),
        [keras_mtl.tasks.DepthEstimation()],
        dim=8,
        groups=1,
        head_width=8,
        scales=2,
    )
    maps = model.predict_on_batch(shared.random_images(1, 32, 48, 3))
    assert maps["depth"].shape == (1, 32, 48, 1) and np.isfinite(maps["depth"]).all()
    kernel = ops.convert_to_numpy(backbone.stages[3].blocks[0].mlp.fc1.kernel)
    assert any(
        np.array_equal(ops.convert_to_numpy(weight), kernel) for weight in model.trainable_weights
    )


def test_unknown_names(shared, tmp_path):
    shared.refused(
        "'vit_large_patch16' is neither .* near are vit_large_patch16_", "vit_large_patch16"
    )
    shared.refused("neither a folder nor one of keras-hub's presets", str(tmp_path / "nothing"))
    shared.refused("'bert_base_en' is neither .* image backbones", "bert_base_en")
    shared.refused("unknown beginning; expected kaggle:// or hf://", "ftp://somewhere/vit")


def test_no_network(shared, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")

    def fail(handle):
        raise ConnectionError("no route to api.kaggle.com\nand much more")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    for name in ("swin_tiny_patch4_window7_224", "dinov2_base", "resnet_50_imagenet"):
        shared.refused(f"{name} could not be downloaded .no route to api.kaggle.com.; check", name)


def test_folders_that_are_none(shared, tmp_path):
    shared.refused("has no config.json; name a folder", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vi')
    shared.refused("config.json is broken or only part of a file", tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    shared.refused("neither keras-hub's nor Hugging Face's", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    shared.refused("a model of type 'bert'; expected one of vit, swin, dinov2", tmp_path)
    config = {"registered_name": "keras_hub>BertBackbone", "class_name": "BertBackbone"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "config": {}}))
    shared.refused("holds a BertBackbone; expected an image backbone", tmp_path)
    config = {"registered_name": "keras_hub>ViTBackbone", "class_name": "ViTBackbone"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "config": {}}))
    shared.refused("config.json does not describe a ViTBackbone", tmp_path)


def test_image_shapes_that_do_not_do(shared, presets):
    for shape in ((32, 32), (None, None, 3), (32, 32, 4)):
        shared.refused(
            r"image_shape is \(.*expected a known height", presets("vit")[0], image_shape=shape
        )
    for kind in ("vit", "dinov2", "dinov3"):
        shared.refused("height 36 is not a multiple", presets(kind)[0], image_shape=(36, 32, 3))


def test_unknown_arguments(shared, presets, folders):
    shared.refused("ViTBackbone takes no depth; see", presets("vit")[0], depth=3)
    shared.refused("ViTBackbone takes no depth; see", folders("ViT")[0], depth=3)
