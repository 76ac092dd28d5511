"""Tables of positions, resized to the backbone's places as other projects do it."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import load_weights
from keras_mtl.backbones.keras_hub import position_embedding
from keras_mtl.backbones.vision_transformer import resize_bicubic

torch = pytest.importorskip("torch", reason="the references are in PyTorch")
transformers = pytest.importorskip("transformers", reason="the references are its networks")

SHAPE = (40, 64, 3)  # patches of 5 x 8, where the ViT was trained on 4 x 4
ODD = (33, 50, 3)

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_resized_positions_in_the_reference_itself(projects, vit, tmp_path):
    """Not only like its own resizing: the same with our table given to it."""
    model, arrays = vit
    with torch.device("cpu"):
        twin = transformers.ViTModel(
            transformers.ViTConfig(**{**model.config.to_dict(), "image_size": SHAPE[:2]}),
            add_pooling_layer=False,
        ).eval()
    state = model.vit.state_dict()
    table = state["embeddings.position_embeddings"].numpy()[0]
    grid = resize_bicubic(table[1:].reshape(4, 4, 32), (5, 8)).reshape(40, 32)
    table = torch.tensor(np.concatenate([table[:1], grid])[None], device="cpu")
    twin.load_state_dict({**state, "embeddings.position_embeddings": table})
    images = projects.random_images(2, *SHAPE)
    with torch.no_grad():
        expected = twin(projects.channels_first(images)).last_hidden_state.numpy()
    backbone = projects.our_vit(SHAPE)
    load_weights(backbone, projects.write(tmp_path / "vit.npz", arrays))
    projects.assert_close(backbone(images, training=False), expected, "our table in torch")


def test_class_token_is_dropped_where_the_backbone_has_none(projects, vit, tmp_path):
    _, arrays = vit
    backbone = projects.our_vit(SHAPE, use_class_token=False)
    load_weights(backbone, projects.write(tmp_path / "vit.npz", projects.timm_vit(arrays)))
    table = ops.convert_to_numpy(position_embedding(backbone).embeddings)
    grid = arrays["vit.embeddings.position_embeddings"][0, 1:].reshape(4, 4, 32)
    np.testing.assert_array_equal(table, resize_bicubic(grid, (5, 8)).reshape(40, 32))


def test_table_without_the_class_tokens_entry(projects, vit, tmp_path):
    """timm's `no_embed_class`: nothing is added to the class token."""
    _, arrays = vit
    arrays = projects.timm_vit(arrays)
    arrays["pos_embed"] = arrays["pos_embed"][:, 1:]
    backbone = projects.our_vit((32, 32, 3))
    load_weights(backbone, projects.write(tmp_path / "vit.npz", arrays))
    table = ops.convert_to_numpy(position_embedding(backbone).embeddings)
    assert not table[0].any()
    np.testing.assert_array_equal(table[1:], arrays["pos_embed"][0])


def test_table_of_a_grid_that_is_no_square(projects, vit, tmp_path):
    _, arrays = vit
    arrays = projects.timm_vit(arrays)  # 16 entries and one
    path = projects.write(tmp_path / "vit.npz", arrays)
    backbone = projects.our_vit((16, 64, 3))
    load_weights(backbone, path, table_grid=(2, 8))
    layer = position_embedding(backbone)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.embeddings), arrays["pos_embed"][0])

    arrays["pos_embed"] = np.concatenate([arrays["pos_embed"], arrays["pos_embed"][:, 1:3]], 1)
    path = projects.write(tmp_path / "more.npz", arrays)  # 18 entries and one: no square
    backbone = projects.our_vit((24, 48, 3))
    load_weights(backbone, path)  # of the backbone's own grid, then
    layer = position_embedding(backbone)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.embeddings), arrays["pos_embed"][0])
    for options in ({}, {"table_grid": (3, 7)}):
        with pytest.raises(ValueError, match=r"pos_embed \(1, 19, 32\)"):
            load_weights(projects.our_vit(SHAPE), path, **options)


def test_swin_with_other_windows(projects, swin, tmp_path, caplog):
    model, arrays = swin
    pyramid = projects.our_swin(ODD, window_size=6)
    with caplog.at_level("INFO", logger="keras_mtl"):
        load_weights(pyramid, projects.write(tmp_path / "swin.npz", arrays))
    assert "windows of 4 to windows of 6" in caplog.text
    projects.assert_swin(pyramid, model, ODD, "windows of 6", window=6)
