"""PAD-Net's distillation against its equations in NumPy."""

import numpy as np
import pytest

from keras_mtl.layers import MultiModalDistillation

SHAPE = (2, 3, 5, 6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def distilled(t, features, layer, equations):
    """F_t and the others' messages; pairs (t, u) in the order of the layer's weights."""
    own, collected = features[t], 0
    for u, other in enumerate(features):
        if u == t:
            continue
        message = equations.convolution(other, layer.messages[f"{t}_{u}"])
        if layer.gate == "source":
            message *= sigmoid(equations.convolution(other, layer.gates[f"{t}_{u}"]))
        collected = collected + message
    if layer.gate == "target":
        collected *= sigmoid(equations.convolution(own, layer.gates[f"{t}"]))
    return own + collected


@pytest.mark.parametrize("gate", ["source", "target"])
@pytest.mark.parametrize("receivers", [None, [2, 0]])
def test_equations(gate, receivers, decoder_equations, randomise, assert_close):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=SHAPE).astype("float32") for _ in range(3)]
    layer = MultiModalDistillation(gate, receivers)
    layer.build([SHAPE] * 3)
    randomise(layer)
    doubles = [each.astype("float64") for each in features]
    to = receivers or range(3)
    for found, t in zip(layer(features), to, strict=True):
        assert_close(found, distilled(t, doubles, layer, decoder_equations))
    # A message for each pair; its gate, or a receiver's own, which has a bias.
    pairs = 2 * len(to)
    assert len(layer.weights) == pairs + (pairs if gate == "source" else 2 * len(to))


def test_a_task_alone_keeps_its_features(assert_close):
    x = np.ones(SHAPE, "float32")
    layer = MultiModalDistillation(gate="target")
    assert_close(layer([x])[0], x)
    assert not layer.weights


def test_an_unknown_gate():
    with pytest.raises(ValueError, match="gate is 'both'; expected one of 'source', 'target'."):
        MultiModalDistillation("both")
