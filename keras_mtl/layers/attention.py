"""Exact attention over the tokens of one image, in memory linear in their number."""

import math

import keras
from keras import ops

# Queries that share one block of scores, per image. Measured on the CPU at 14,980 tokens: 64 to 512
# take about the same time, and 128 at most about half the memory of 512; fewer save little more.
CHUNK = 128
# The same where there is no loop, to the formats that models are exported to.
BLOCK = 1024


def dot_product_attention(query, key, value, chunk: int = CHUNK):
    """Scaled dot-product attention, `softmax(q k^T / sqrt(d)) v`, for thousands of tokens.

    The scores of all queries with all keys are never stored together, neither forward nor for the
    gradient. PyTorch has fused kernels for that on the CPU and on GPUs, JAX on GPUs in bfloat16 and
    float16. Elsewhere, and after `keras.config.disable_flash_attention()`, `chunk` queries attend
    after another, and again in the gradient. Takes tensors, not a symbolic `keras.Input`: call it
    inside a layer.

    Args:
        query: float tensor `(B, Q, heads, d)`.
        key: float tensor `(B, K, heads, d)`.
        value: float tensor `(B, K, heads, d)`.
        chunk: int, queries.

    Returns:
        Tensor `(B, Q, heads, d)` of the query's dtype; the softmax is taken in float32.

    Example:

    >>> query, memory = keras.ops.ones((1, 6, 2, 4)), keras.ops.ones((1, 8, 2, 4))
    >>> tuple(dot_product_attention(query, memory, memory).shape)
    (1, 6, 2, 4)

    References: Vaswani et al., Attention Is All You Need, NeurIPS 2017, Eq. 1; Rabe and Staats,
    Self-attention Does Not Need O(n^2) Memory, 2021 (the chunks).
    """
    lengths = (query.shape[1], key.shape[1])
    dtype = keras.backend.standardize_dtype(query.dtype)
    if _has_fused_kernel(keras.backend.backend(), _jax_platform(), dtype, query.shape[-1], lengths):
        try:
            return _fused(query, key, value)
        except Exception:
            if keras.backend.backend() == "torch":
                raise
            # JAX says only here that the GPU is too old, or its libraries.
    return _chunked(query, key, value, chunk)


def attention_as_written(query, key, value):
    """`dot_product_attention` without loops and kernels: to be traced, not to be run.

    Args:
        query: float tensor `(B, Q, heads, d)`; `BLOCK` queries share a block of scores.
        key: float tensor `(B, K, heads, d)`.
        value: float tensor `(B, K, heads, d)`.

    Returns:
        Tensor `(B, Q, heads, d)`.

    Example:

    >>> query, memory = keras.ops.ones((1, 6, 2, 4)), keras.ops.ones((1, 8, 2, 4))
    >>> tuple(attention_as_written(query, memory, memory).shape)
    (1, 6, 2, 4)
    """
    blocks = [query[:, i : i + BLOCK] for i in range(0, query.shape[1], BLOCK)]
    done = [_chunked(block, key, value, BLOCK) for block in blocks]
    return done[0] if len(done) == 1 else ops.concatenate(done, axis=1)


def _has_fused_kernel(backend: str, platform: str, dtype: str, size: int, lengths) -> bool:
    """Whether the backend may have attention that stores no scores, for these heads and lengths."""
    if keras.config.is_flash_attention_enabled() is False:
        return False
    if backend == "torch":
        return True
    # cuDNN's, as JAX takes it: with a gradient the numbers of queries and keys must be even.
    even = all(length is not None and length % 2 == 0 for length in lengths)
    half = dtype in ("bfloat16", "float16")
    return backend == "jax" and platform == "gpu" and half and size <= 128 and even


def _jax_platform() -> str:
    if keras.backend.backend() != "jax":
        return ""
    import jax

    return jax.default_backend()


def _fused(query, key, value):
    """The backend's own attention, at a head size that GPU kernels take."""
    size = query.shape[-1]
    # Zeros add nothing to q k^T, and the columns that they add to the result are cut off.
    padding = [(0, 0), (0, 0), (0, 0), (0, -size % 8)]
    query, key, value = (ops.pad(x, padding) for x in (query, key, value))
    out = ops.dot_product_attention(
        query,
        key,
        value,
        scale=1 / math.sqrt(size),
        # An error rather than stored scores; PyTorch chooses among its kernels by itself.
        flash_attention=True if keras.backend.backend() == "jax" else None,
    )
    return out[..., :size]


def _chunked(query, key, value, chunk: int):
    """At most `chunk` queries at a time; the gradient computes their scores again."""
    _, length, heads, size = query.shape
    query = ops.transpose(query, (0, 2, 1, 3))  # (B, heads, Q, d)
    key = ops.transpose(key, (0, 2, 3, 1))  # (B, heads, d, K)
    value = ops.transpose(value, (0, 2, 1, 3))  # (B, heads, K, d)
    if length <= chunk:
        return ops.transpose(_attend(query, key, value), (0, 2, 1, 3))

    chunks = math.ceil(length / chunk)
    chunk = math.ceil(length / chunks)  # even chunks: fewer rows of padding
    query = ops.pad(query, [(0, 0), (0, 0), (0, chunks * chunk - length), (0, 0)])
    query = ops.reshape(query, (-1, heads, chunks, chunk, size))
    query = ops.transpose(query, (2, 0, 1, 3, 4))  # (chunks, B, heads, chunk, d)
    # The gradients of key and value are sums over the chunks, which bfloat16 would round each time.
    key, value = ops.cast(key, "float32"), ops.cast(value, "float32")
    # Keys and values are arguments, not closed over: tf.recompute_grad differentiates arguments.
    attend = keras.remat(_attend)
    out = ops.map(lambda rows: attend(rows, key, value), query)
    out = ops.transpose(out, (1, 0, 3, 2, 4))  # (B, chunks, chunk, heads, d)
    return ops.reshape(out, (-1, chunks * chunk, heads, size))[:, :length]


def _attend(query, key, value):
    """The formula as written: `(B, heads, Q, d)`, `(B, heads, d, K)` and `(B, heads, K, d)`."""
    dtype = query.dtype
    # float16 ends at 65504, which q k^T reaches long before q k^T / sqrt(d). So most of the
    # division comes first: by a power of two, which rounds nothing.
    root = math.sqrt(query.shape[-1])
    exact = 2.0 ** math.floor(math.log2(root))
    scores = ops.matmul(query / exact, ops.cast(key, dtype))
    weights = ops.softmax(ops.cast(scores, "float32") / (root / exact), axis=-1)
    return ops.matmul(ops.cast(weights, dtype), ops.cast(value, dtype))
