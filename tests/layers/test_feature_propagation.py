"""MTI-Net's feature propagation against its equations in NumPy."""

import numpy as np
import pytest

from keras_mtl.layers import FeaturePropagation

TASKS, CHANNELS = 3, 18
SHAPE = (2, 2, 3, CHANNELS)


def softmax_in_groups(logits, group_of):
    """At each position, over the channels of each group."""
    found = np.empty_like(logits)
    for group in set(group_of):
        members = [k for k, other in enumerate(group_of) if other == group]
        powers = np.exp(logits[..., members])
        found[..., members] = powers / powers.sum(-1, keepdims=True)
    return found


# In the concatenation channel k is channel k % c of task k // c.
GROUPS = {
    "task": [k % CHANNELS for k in range(TASKS * CHANNELS)],
    "adjacent": [k // TASKS for k in range(TASKS * CHANNELS)],
}


@pytest.mark.parametrize("grouping", list(GROUPS))
def test_equations(grouping, decoder_equations, randomise, assert_close):
    rng, equations = np.random.default_rng(0), decoder_equations
    features = [rng.normal(size=SHAPE).astype("float32") for _ in range(TASKS)]
    layer = FeaturePropagation(grouping)
    layer.build([SHAPE] * TASKS)
    randomise(layer)

    x = np.concatenate(features, axis=-1).astype("float64")
    logits = x
    for block in layer.mask_blocks:
        logits = equations.block(block, logits)
    logits = equations.convolution(logits, layer.mask_logits)
    mask = softmax_in_groups(logits, GROUPS[grouping])
    assert np.allclose(mask.sum(-1), CHANNELS)
    reduced = equations.block(layer.reduction, mask * x)
    squeezed = reduced.mean(axis=(1, 2), keepdims=True)

    def dense(x, layer):
        return x @ equations.array(layer.kernel) + equations.array(layer.bias)

    for t, found in enumerate(layer(features)):
        hidden = np.maximum(dense(squeezed, layer.squeezes[t]), 0)
        assert hidden.shape[-1] == CHANNELS // 16
        excited = 1 / (1 + np.exp(-dense(hidden, layer.excitations[t])))
        assert_close(found, reduced * excited + features[t])


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="mask_grouping is 'both'; expected one of 'task', 'adja"):
        FeaturePropagation("both")
    with pytest.raises(ValueError, match="by 16, and a scale has 12; use a wider backbone."):
        FeaturePropagation().build([(None, 2, 3, 12)] * 2)
