import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import visualize

TASKS = ["semseg", "depth", "edge"]


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).uniform(0, 255, (48, 64, 3)).astype("float32")


def blocks_affinities(model, image, block):
    """The spatial and the channel affinity that a prompted block hands on, as arrays."""
    tensors = model.get_layer(block).output
    spatial, channel = (
        [tensor for tensor in tensors if len(tensor.shape) == 4 and tensor.shape[-1] == length]
        for length in (48 + tensors[-1].shape[2], 128)
    )
    return keras.Model(model.input, [*spatial, *channel]).predict_on_batch(image[None])


@pytest.mark.parametrize("level, block", [(-1, 2), (0, 1)])
def test_maps_are_the_blocks_affinities(prompter, photograph, level, block):
    maps = visualize.affinity_maps(prompter, photograph, level)
    spatial, channel = blocks_affinities(prompter, photograph, f"prompted_block_{block}")
    assert spatial.shape == (1, 4, 3, 3 + 48) and channel.shape == (1, 4, 3, 128)
    assert list(maps) == ["spatial", "channel"]
    assert list(maps["spatial"]) == list(maps["channel"]) == TASKS
    for t, name in enumerate(TASKS):
        # Row of the task, columns of the patches: the T columns in front are the prompts.
        own = spatial[0, :, t, len(TASKS) :].reshape(4, 6, 8)
        np.testing.assert_allclose(maps["spatial"][name], own, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(maps["channel"][name], channel[0, :, t], rtol=1e-4, atol=1e-4)


def test_patches_of_the_padding_are_cut_off(prompter, photograph):
    wide = photograph[:20]  # lies in rows 14 to 34 of 48: patches 1 to 4
    maps = visualize.affinity_maps(prompter, wide)
    image, _ = prompter.fit_to_input(wide)
    whole = visualize.affinity_maps(prompter, image)
    for name in TASKS:
        assert maps["spatial"][name].shape[1:] == (4, 8)
        expected = whole["spatial"][name][:, 1:5]
        np.testing.assert_allclose(maps["spatial"][name], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            maps["channel"][name], whole["channel"][name], rtol=1e-4, atol=1e-4
        )
    tall = np.repeat(photograph[:, :8], 2, axis=0)  # 96x8: in columns 30 to 34 of 64
    assert visualize.affinity_maps(prompter, tall)["spatial"]["depth"].shape[1:] == (6, 2)


@pytest.mark.parametrize(
    "arguments, kinds",
    [
        ({"channel_prompts": False}, ["spatial"]),
        ({"spatial_prompts": False}, ["channel"]),
        ({"task_specific_encoders": True, "prompting_levels": 1}, ["spatial", "channel"]),
        ({"variant": "released"}, ["spatial", "channel"]),
    ],
)
def test_other_models(task_prompter, photograph, arguments, kinds):
    model = task_prompter(**arguments)
    maps = visualize.affinity_maps(model, photograph)
    assert list(maps) == kinds
    shapes = {"spatial": (6, 8), "channel": (128,)}
    for kind in kinds:
        assert list(maps[kind]) == TASKS
        arrays = list(maps[kind].values())
        assert all(each.shape[1:] == shapes[kind] for each in arrays)
        assert not np.allclose(arrays[0], arrays[1])
    figure = visualize.affinity(model, photograph, heads=1)
    pictures = len([axis for axis in figure.axes if axis.images])
    assert pictures == 1 + 2 * 3 * ("spatial" in kinds) + ("channel" in kinds)


def test_each_encoders_maps_are_its_tasks(task_prompter, photograph):
    model = task_prompter(task_specific_encoders=True, prompting_levels=1)
    maps = visualize.affinity_maps(model, photograph)
    spatial, _ = blocks_affinities(model, photograph, "depth_prompted_block_2")
    own = spatial[0, :, 0, 1:].reshape(4, 6, 8)
    np.testing.assert_allclose(maps["spatial"]["depth"], own, rtol=1e-4, atol=1e-4)


def test_a_loaded_model_gives_the_same(prompter, photograph, tmp_path):
    prompter.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    maps, again = (visualize.affinity_maps(each, photograph) for each in (prompter, loaded))
    for kind in maps:
        for name in TASKS:
            np.testing.assert_allclose(maps[kind][name], again[kind][name], rtol=1e-4, atol=1e-4)


def test_figure_shows_the_maps(prompter, photograph):
    wide = photograph[:20]
    maps = visualize.affinity_maps(prompter, wide)
    figure = visualize.affinity(prompter, wide, heads=2, channels=60)
    pictures = [axis for axis in figure.axes if axis.images]
    first, *over, below = pictures
    assert first.get_title() == "photograph"
    assert [axis.get_title() for axis in over[:3]] == TASKS
    labels = [axis.get_ylabel() for axis in over[::3]]
    heads = len(maps["spatial"]["depth"])
    assert labels == [f"mean of {heads} heads", "head 1", "head 2"]
    for row in range(3):
        scales = {axis.images[1].get_clim() for axis in over[3 * row : 3 * row + 3]}
        assert len(scales) == 1
        for axis, name in zip(over[3 * row : 3 * row + 3], TASKS, strict=True):
            own = maps["spatial"][name]
            expected = own.mean(0) if row == 0 else own[row - 1]
            drawn = axis.images[1].get_array()
            np.testing.assert_allclose(drawn[1:5], expected, rtol=1e-4, atol=1e-4)
            # The photograph fills 20 of the model's 48 rows, from row 14: the map reaches
            # beyond it, and the axes end with the photograph.
            assert axis.images[1].get_extent() == pytest.approx((-0.5, 63.5, 33.5, -14.5))
            assert axis.get_ylim() == (19.5, -0.5) and axis.get_xlim() == (-0.5, 63.5)
    rows = below.images[0].get_array()
    assert rows.shape == (3, 60)
    for row, name in zip(rows, TASKS, strict=True):
        means = maps["channel"][name].mean(0)
        np.testing.assert_allclose(row[[0, -1]], means[[0, -1]], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_shown(prompter, tpanet, photograph):
    with pytest.raises(ValueError, match="is a TPANet, which has no task prompts"):
        visualize.affinity(tpanet(), photograph)
    for level in (2, -3):
        with pytest.raises(ValueError, match=f"level is {level}, but this model decodes 2 levels"):
            visualize.affinity_maps(prompter, photograph, level)
    with pytest.raises(ValueError, match="photograph has shape"):
        visualize.affinity_maps(prompter, photograph[..., :2])
