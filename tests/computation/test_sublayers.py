"""Every layer is found, without Keras' own private list."""

import keras
import pytest

import keras_mtl
from keras_mtl.computation.sublayers import every_layer


class Nest(keras.layers.Layer):
    """Layers in a list, a dict, a tuple, another layer, and one of them twice."""

    def __init__(self):
        super().__init__()
        dense = [keras.layers.Dense(1) for _ in range(4)]
        self.listed = dense[:2]
        self.named = {"a": dense[2], "b": (dense[3], keras.Sequential([dense[0]]))}


def model():
    sizes = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window_size": 2}
    backbone = keras_mtl.backbones.swin_transformer("tiny", (32, 48, 3), **sizes)
    return keras_mtl.TPANet(backbone, keras_mtl.tasks.nyud("semseg", "depth"), dim=8, head_width=8)


@pytest.mark.parametrize("build", [Nest, model])
def test_all_that_keras_knows(build):
    outer = build()
    found, known = every_layer(outer), outer._flatten_layers()
    assert found[0] is outer and len(found) > 5
    ids = {id(layer) for layer in known}
    assert ids <= {id(layer) for layer in found}
    for layer in found:  # Keras does not count the graph that a Sequential makes of its layers
        assert id(layer) in ids or {id(inner) for inner in layer.layers} <= ids
    assert len({id(layer) for layer in found}) == len(found)
