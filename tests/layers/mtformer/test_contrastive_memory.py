"""The contrastive memory against its equations in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import ContrastiveMemory

SIZE, WIDTH = 5, 4


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def estimate(scores, size):
    """-(log P(own) + sum of log(1 - P(others))), P against noise of 1 / size."""
    noise = (len(scores) - 1) / size
    own, others = scores[0], scores[1:]
    return -np.log(own / (own + noise)) - np.log(noise / (others + noise)).sum()


def reference(embeddings, memories, rows, others, constants, temperature=0.07):
    """`[losses of a, losses of b]`, and both constants."""
    units = [unit(x.astype("float64")) for x in embeddings]
    scores = [
        np.array(
            [
                [np.exp(memory[k] @ e / temperature) for k in (row, *other)]
                for e, row, other in zip(x, rows, others, strict=True)
            ]
        )
        for x, memory in zip(units, memories[::-1], strict=True)
    ]
    constants = [c or len(memories[0]) * s.mean() for c, s in zip(constants, scores, strict=True)]
    losses = [
        [estimate(each / c, len(memories[0])) for each in s]
        for s, c in zip(scores, constants, strict=True)
    ]
    return losses, constants


def values(variables):
    return [np.array(ops.convert_to_numpy(each), "float64") for each in variables]


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, WIDTH)).astype("float32") for _ in "ab"]


def test_with_numbers_of_images(embeddings, assert_close):
    memory = ContrastiveMemory(SIZE, negatives=3, momentum=0.25, seed=0)
    rows, others = np.array([4, 1]), np.array([[0, 1, 2], [3, 4, 4]])
    memory(embeddings)  # builds it
    before, constants = values(memory.memories), [0, 0]
    assert all(np.abs(each).max() <= 1 / np.sqrt(WIDTH / 3) for each in before)
    for _ in range(2):
        losses, constants = reference(embeddings, before, rows, others, constants)
        given = (ops.convert_to_tensor(each) for each in (rows, others))
        for found, expected in zip(memory(embeddings, *given, training=True), losses, strict=True):
            assert_close(found, np.array(expected))
        for n, each in enumerate(embeddings):
            before[n][rows] = unit(0.25 * before[n][rows] + 0.75 * unit(each.astype("float64")))
        for found, expected in zip(memory.memories, before, strict=True):
            assert_close(found, expected)
        assert_close(memory.constants, np.array(constants))


def test_rows_in_turn(embeddings, assert_close):
    """Each batch's rows become its own embeddings, and the images' own are not drawn alone."""
    memory = ContrastiveMemory(SIZE, negatives=3, seed=0)
    memory(embeddings)
    expected = values(memory.memories)
    for rows in ([0, 1], [2, 3], [4, 0]):
        losses = memory(embeddings, training=True)
        for n, each in enumerate(embeddings):
            expected[n][rows] = unit(each.astype("float64"))
        for found, wanted in zip(memory.memories, expected, strict=True):
            assert_close(found, wanted)
        assert all(np.isfinite(ops.convert_to_numpy(each)).all() for each in losses)
    # Outside training nothing changes, and all rows are the others.
    rows, others = [1, 2], [range(SIZE)] * 2
    wanted, _ = reference(embeddings, expected, rows, others, values([memory.constants])[0])
    for _ in range(2):
        for found, each in zip(memory(embeddings), wanted, strict=True):
            assert_close(found, np.array(each))


def test_memories_are_saved(embeddings, tmp_path):
    inputs = [keras.Input((WIDTH,)) for _ in "ab"]
    model = keras.Model(inputs, ContrastiveMemory(SIZE, 3, seed=0)(inputs))
    model(embeddings, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    assert any(int(ops.convert_to_numpy(w).sum()) == 2 for w in model.weights if len(w.shape) == 0)


def test_refusals():
    for arguments in ({"size": 0}, {"negatives": 0}, {"temperature": 0.0}, {"momentum": 1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} is"):
            ContrastiveMemory(**arguments)
