"""Whose names a file has, and files that do not fit: nothing changes."""

import keras
import numpy as np
import pytest

from keras_mtl.backbones import HRNet, load_weights

SHAPE = (40, 64, 3)  # patches of 5 x 8, where the ViT was trained on 4 x 4
ODD = (33, 50, 3)

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_names_that_nobody_knows(projects, tmp_path):
    path = projects.write(
        tmp_path / "other.npz", {"encoder/w": np.zeros(3), "encoder/b": np.zeros(2)}
    )
    match = (
        r"known for a ViTBackbone: it has encoder/w, encoder/b and so on; expected one of .*timm"
    )
    projects.refused(projects.our_vit(SHAPE), path, match)


def test_another_architecture(projects, vit, swin, tmp_path):
    path = projects.write(tmp_path / "swin.npz", projects.official_swin(swin[1]))
    projects.refused(
        projects.our_vit(SHAPE), path, "names of timm: it lacks .*blocks.0.norm1.weight"
    )
    path = projects.write(tmp_path / "vit.npz", vit[1])
    projects.refused(
        projects.our_swin(ODD), path, "this SwinTransformer in .*embeddings.norm.weight"
    )
    backbone = HRNet(ODD, width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1)
    backbone.build((None, *ODD))
    projects.refused(backbone, path, "known for a HRNet: .* expected one of layer1.0.conv1.weight")


def test_sizes_of_another_backbone(projects, vit, tmp_path):
    path = projects.write(tmp_path / "vit.npz", projects.timm_vit(vit[1]))
    match = r"patch_embed.proj.weight \(32, 3, 8, 8\) .* \(8, 8, 3, 64\)"
    projects.refused(projects.our_vit(SHAPE, hidden_dim=64), path, match)
    projects.refused(
        projects.our_vit(SHAPE, num_layers=3), path, "lacks blocks.2.norm1.weight, .* more"
    )
    projects.refused(
        projects.our_vit(SHAPE, num_layers=1), path, "it has blocks.1.* that nobody takes"
    )


def test_missing_and_left_over(projects, vit, tmp_path):
    arrays = projects.timm_vit(vit[1])
    del arrays["blocks.1.attn.qkv.bias"]
    projects.refused(
        projects.our_vit(SHAPE),
        projects.write(tmp_path / "a.npz", arrays),
        "it lacks blocks.1.attn.qkv.bias",
    )
    arrays = {**projects.timm_vit(vit[1]), "blocks.0.ls1.gamma": np.ones(32, "float32")}
    match = "it has blocks.0.ls1.gamma that nobody takes"
    projects.refused(projects.our_vit(SHAPE), projects.write(tmp_path / "b.npz", arrays), match)
    arrays = {**projects.timm_vit(vit[1])}
    del arrays["cls_token"]
    projects.refused(
        projects.our_vit(SHAPE), projects.write(tmp_path / "c.npz", arrays), "it lacks cls_token"
    )


def test_truncated_file(projects, vit, tmp_path):
    path = projects.write(tmp_path / "vit.safetensors", vit[1])
    path.write_bytes(path.read_bytes()[:-1000])
    projects.refused(projects.our_vit(SHAPE), path, "broken or only part of a file")


def test_a_backbone_without_names():
    with pytest.raises(ValueError, match="Sequential is no backbone .*ViTBackbone") as error:
        load_weights(keras.Sequential(), __file__)
    assert "\n" not in str(error.value)
