"""Vaswani et al., Eq. 1, and its gradients against a float64 reference derived by hand.

The reference handles one image and one head at a time and stores every score.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import attention
from keras_mtl.layers.attention import _chunked, attention_as_written, dot_product_attention

BACKEND = keras.backend.backend()
HEADS = 2
CHUNK = 16  # divides neither 70 nor 33


def in_small_chunks(query, key, value):
    return _chunked(query, key, value, CHUNK)


def draw(queries=70, keys=70, size=54, batch=1, scale=1.0):
    """Random query, key, value, and the derivative of a loss by the result."""
    rng = np.random.default_rng(0)
    lengths = (queries, keys, keys, queries)
    shapes = [(batch, length, HEADS, size) for length in lengths]
    q, k, v, upstream = (rng.normal(size=shape).astype("float32") for shape in shapes)
    return q * np.float32(scale), k * np.float32(scale), v, upstream


# === The equation and its derivatives in NumPy ===


def reference(query, key, value, upstream):
    """The result, then the gradients by query, key and value."""
    query, key, value, upstream = (
        np.asarray(x, dtype="float64") for x in (query, key, value, upstream)
    )
    found = [np.zeros_like(x) for x in (query, query, key, value)]
    for image in range(query.shape[0]):
        for head in range(query.shape[2]):
            at = (image, slice(None), head)
            q, k, v, g = query[at], key[at], value[at], upstream[at]
            root = np.sqrt(q.shape[-1])
            scores = q @ k.T / root
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            by_weights = g @ v.T
            by_scores = weights * (by_weights - (by_weights * weights).sum(-1, keepdims=True))
            results = (weights @ v, by_scores @ k / root, by_scores.T @ q / root, weights.T @ g)
            for whole, part in zip(found, results, strict=True):
                whole[at] = part
    return found


# === The same from the running backend ===


def with_gradients(function, arrays, compiled=True, dtype="float32"):
    """The result, then the gradients by query, key and value, as tensors.

    `compiled` as `fit` does it: jitted on JAX, a graph on TensorFlow, nothing on PyTorch.
    """
    query, key, value, upstream = (ops.convert_to_tensor(x, dtype=dtype) for x in arrays)
    if BACKEND == "jax":
        import jax

        def run(*inputs):
            out, gradients = jax.vjp(function, *inputs)
            return out, *gradients(upstream)

        return (jax.jit(run) if compiled else run)(query, key, value)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def run(*inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                out = function(*inputs)
            return out, *tape.gradient(out, inputs, upstream)

        return (tf.function(run) if compiled else run)(query, key, value)
    import torch

    inputs = [x.requires_grad_() for x in (query, key, value)]
    out = function(*inputs)
    return out.detach(), *torch.autograd.grad(out, inputs, upstream)


def as_arrays(tensors):
    return [ops.convert_to_numpy(ops.cast(x, "float32")) for x in tensors]


# === Values and gradients ===


@pytest.mark.parametrize("queries, keys, size", [(70, 70, 54), (33, 70, 8), (70, 5, 54)])
@pytest.mark.parametrize("function", [dot_product_attention, in_small_chunks])
def test_equals_the_formula(function, queries, keys, size, assert_close):
    arrays = draw(queries, keys, size, batch=2)
    found = with_gradients(function, arrays)
    for tensor, expected in zip(found, reference(*arrays), strict=True):
        assert_close(tensor, expected)


def test_equals_the_formula_uncompiled(assert_close):
    arrays = draw(batch=2)
    found = with_gradients(in_small_chunks, arrays, compiled=False)
    for tensor, expected in zip(found, reference(*arrays), strict=True):
        assert_close(tensor, expected)


@pytest.mark.parametrize("chunk", [1, 35, 69, 70])
def test_any_chunk_gives_the_same(chunk, assert_close):
    arrays = draw(size=8)
    found = with_gradients(lambda *inputs: _chunked(*inputs, chunk), arrays)
    for tensor, expected in zip(found, reference(*arrays), strict=True):
        assert_close(tensor, expected)


@pytest.mark.parametrize("function", [dot_product_attention, in_small_chunks])
def test_images_do_not_see_each_other(function):
    query, key, value, _ = draw(batch=2, size=8)
    together = ops.convert_to_numpy(function(query, key, value))
    changed = [np.stack([x[0], 5 - x[1]]) for x in (query, key, value)]
    beside_another = ops.convert_to_numpy(function(*changed))
    np.testing.assert_array_equal(together[0], beside_another[0])
    assert np.abs(together[1] - beside_another[1]).max() > 1


@pytest.mark.parametrize("function", [dot_product_attention, in_small_chunks])
def test_large_logits_stay_finite(function):
    arrays = draw(scale=30)
    for array in as_arrays(with_gradients(function, arrays)):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("function", [dot_product_attention, in_small_chunks])
def test_bfloat16(function, assert_close):
    # The reference starts from the same rounded numbers.
    arrays = as_arrays(ops.convert_to_tensor(x, dtype="bfloat16") for x in draw(batch=2))
    found = with_gradients(function, arrays, dtype="bfloat16")
    assert {keras.backend.standardize_dtype(x.dtype) for x in found} == {"bfloat16"}
    for array, expected in zip(as_arrays(found), reference(*arrays), strict=True):
        assert_close(array, expected, tolerance=0.02)


def test_bfloat16_gradients_do_not_round_at_every_chunk():
    """70 chunks, each with about 1/70 of the value's gradient."""
    arrays = [np.zeros((1, 70, HEADS, 8), "float32") for _ in range(3)]
    arrays.append(np.ones_like(arrays[0]))
    found = with_gradients(lambda *inputs: _chunked(*inputs, 1), arrays, dtype="bfloat16")
    np.testing.assert_allclose(as_arrays(found)[-1], 1, rtol=2**-8)


EPSILON = {"float32": 2**-23, "bfloat16": 2**-7, "float16": 2**-10}


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize(
    "queries, keys", [(70, 70), (140, 70), (70, 5)], ids=["self", "two", "few"]
)
def test_equals_the_plain_path(dtype, queries, keys, monkeypatch, assert_close):
    """`two`: TPANet's, whose features and prior ask the same keys; they make two blocks here."""
    monkeypatch.setattr(attention, "CHUNK", CHUNK)
    monkeypatch.setattr(attention, "BLOCK", 100)
    arrays = draw(queries, keys, batch=2)
    found, expected = (
        as_arrays(with_gradients(how, arrays, dtype=dtype))
        for how in (dot_product_attention, attention_as_written)
    )
    # Either path rounds its weights, their gradients and its results, by half an epsilon each, and
    # the gradients are products of what was rounded: by a handful of epsilons they may differ.
    # float32 sums 70 products in another order, of which each addition rounds.
    roundings = 70 if dtype == "float32" else 4
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, tolerance=roundings * EPSILON[dtype])
    exact = reference(*as_arrays(ops.convert_to_tensor(x, dtype=dtype) for x in arrays))
    for a, b in zip(expected, exact, strict=True):
        assert_close(a, b, tolerance=roundings * EPSILON[dtype])


@pytest.mark.parametrize("function", [dot_product_attention, in_small_chunks])
def test_float16_of_scores_beyond_its_range(function):
    """q k^T is 86400 and more than float16 holds, q k^T / sqrt(d) is not."""
    arrays = draw(batch=2)
    query, key = (np.full_like(x, 40) for x in arrays[:2])
    found = as_arrays(with_gradients(function, (query, key, *arrays[2:]), dtype="float16"))
    assert all(np.isfinite(x).all() for x in found)
    # All scores are the same, so each query gets the mean of the values.
    mean = np.broadcast_to(arrays[2].mean(1, keepdims=True), found[0].shape)
    np.testing.assert_allclose(found[0], mean, atol=2 * EPSILON["float16"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_thousands_of_keys_sum_to_one(dtype):
    """Added up in bfloat16, ones would stay at 256."""
    query, value = np.zeros((1, 300, HEADS, 8), "float32"), np.ones((1, 5000, HEADS, 8), "float32")
    inputs = [ops.convert_to_tensor(x, dtype=dtype) for x in (query, value, value)]
    found = as_arrays([dot_product_attention(*inputs)])[0]
    np.testing.assert_allclose(found, 1, atol=EPSILON[dtype])


def test_softmax_is_taken_in_float32(monkeypatch):
    """Of our own path; PyTorch's kernels are held to the formula above."""
    dtypes, softmax = [], ops.softmax

    def seen(x, axis=-1):
        dtypes.append(keras.backend.standardize_dtype(x.dtype))
        return softmax(x, axis=axis)

    monkeypatch.setattr(ops, "softmax", seen)
    in_small_chunks(*(ops.convert_to_tensor(x, dtype="bfloat16") for x in draw()[:3]))
    assert set(dtypes) == {"float32"}


# === In models ===


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class SelfAttention(keras.layers.Layer):
    """Projects tokens `(B, S, C)` and lets them attend to each other."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projection = keras.layers.Dense(3 * HEADS * 6)

    def build(self, shape):
        self.projection.build(shape)

    def call(self, tokens):
        projected = ops.reshape(self.projection(tokens), (-1, tokens.shape[1], HEADS, 18))
        out = dot_product_attention(*ops.split(projected, 3, axis=-1))
        return ops.reshape(out, (-1, tokens.shape[1], HEADS * 6))


def small_model(length=40):
    inputs = keras.Input((length, 12))
    x = SelfAttention()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(SelfAttention()(x)))


@pytest.mark.parametrize("length", [10, 40])
def test_symbolic_shape(length, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", CHUNK)
    assert SelfAttention()(keras.Input((length, 12))).shape == (None, length, 12)
    assert SelfAttention()(keras.Input((length, 12), batch_size=3)).shape == (3, length, 12)


def test_trains_and_saves(monkeypatch, tmp_path):
    monkeypatch.setattr(attention, "CHUNK", CHUNK)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 40, 12)).astype("float32")
    labels = np.mean(images, axis=(1, 2), keepdims=True) * np.ones((1, 40, 1), "float32")
    model = small_model()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    history = model.fit(images, labels, batch_size=2, epochs=8, verbose=0)  # a partial last batch
    losses = history.history["loss"]
    assert losses[-1] < 0.5 * losses[0]

    predicted = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), predicted, atol=1e-6)


# === Fused kernels ===


@pytest.mark.parametrize(
    ("case", "fused"),
    [
        (("torch", "", "float32", 54, (7, 7)), True),
        (("jax", "gpu", "bfloat16", 54, (14_840, 3_710)), True),
        (("jax", "gpu", "float16", 128, (1012, 1012)), True),
        (("jax", "gpu", "float32", 64, (1012, 1012)), False),
        (("jax", "gpu", "bfloat16", 136, (1012, 1012)), False),
        (("jax", "gpu", "bfloat16", 64, (1012, 1013)), False),
        (("jax", "gpu", "bfloat16", 64, (None, 1012)), False),
        (("jax", "cpu", "bfloat16", 64, (1012, 1012)), False),
        (("jax", "tpu", "bfloat16", 64, (1012, 1012)), False),
        (("tensorflow", "", "bfloat16", 64, (1012, 1012)), False),
    ],
)
def test_where_there_is_a_fused_kernel(case, fused):
    assert attention._has_fused_kernel(*case) is fused
    keras.config.disable_flash_attention()
    try:
        assert not attention._has_fused_kernel(*case)
    finally:
        keras.config.enable_flash_attention()


@pytest.mark.skipif(BACKEND != "jax", reason="PyTorch always has one, TensorFlow never")
def test_chunks_where_the_fused_kernel_turns_out_to_be_missing(monkeypatch):
    """As on a GPU that is too old: on the CPU, JAX refuses it too."""
    inputs = [ops.cast(x, "bfloat16") for x in draw()[:3]]
    expected = dot_product_attention(*inputs)
    monkeypatch.setattr(attention, "_jax_platform", lambda: "gpu")
    with pytest.raises(Exception, match=r"(?i)cudnn"):
        attention._fused(*inputs)
    np.testing.assert_array_equal(dot_product_attention(*inputs), expected)


# === Memory ===


def largest_intermediate_jax(function, arrays):
    import jax
    from jax.extend.core import jaxprs_in_params

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (int(np.prod(out.aval.shape)) for out in equation.outvars)
            for inner in jaxprs_in_params(equation.params):
                yield from sizes(inner)

    *inputs, upstream = arrays
    traced = jax.make_jaxpr(lambda *x: jax.vjp(function, *x)[1](upstream))(*inputs)
    return max(sizes(traced.jaxpr))


def largest_intermediate_torch(function, arrays):
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            nonlocal largest
            out = operation(*args, **(kwargs or {}))
            found = [x.numel() for x in keras.tree.flatten(out) if hasattr(x, "numel")]
            largest = max([largest, *found])
            return out

    with Watch():
        with_gradients(function, arrays)
    return largest


def test_scores_are_never_stored_whole():
    """Nor the keys and values once a chunk: 9 chunks of them are more than the scores."""
    if BACKEND == "tensorflow":
        pytest.skip(
            "a TensorFlow loop hides what it keeps; benchmarks/attention_memory.py measures"
        )
    largest = {"jax": largest_intermediate_jax, "torch": largest_intermediate_torch}[BACKEND]
    arrays = draw(size=54)
    scores = HEADS * 70 * 70
    assert largest(lambda *inputs: dot_product_attention(*inputs, chunk=8), arrays) < scores
    # The walk itself finds stored scores.
    assert largest(lambda *inputs: _chunked(*inputs, 70), arrays) >= scores
