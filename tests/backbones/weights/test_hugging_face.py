"""Hugging Face's names, against its own networks."""

import pytest

from keras_mtl.backbones import load_weights

torch = pytest.importorskip("torch", reason="the references are in PyTorch")

SHAPE = (40, 64, 3)  # patches of 5 x 8, where the ViT was trained on 4 x 4

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_vit(vit, projects, tmp_path):
    projects.check_vit(vit, tmp_path / "vit.safetensors", dict)


def test_vit_as_transformers_5_names_it(projects, vit, tmp_path):
    model, _ = vit
    torch.save(model.state_dict(), tmp_path / "vit.bin")
    assert "vit.layers.0.attention.q_proj.weight" in model.state_dict()
    backbone, images = projects.our_vit(SHAPE), projects.random_images(1, *SHAPE)
    load_weights(backbone, tmp_path / "vit.bin")
    projects.assert_close(
        backbone(images, training=False), projects.vit_features(model, images), "state dict"
    )


def test_swin(swin, projects, tmp_path):
    projects.check_swin(swin, tmp_path / "swin.npz", dict)


def test_swin_as_transformers_5_names_it(projects, swin, tmp_path):
    model, _ = swin
    torch.save(model.state_dict(), tmp_path / "swin.bin")
    pyramid = projects.our_swin((32, 32, 3))
    load_weights(pyramid.backbone, tmp_path / "swin.bin")  # keras-hub's own, too
    projects.assert_swin(pyramid, model, (32, 32, 3), "state dict")
