"""What JPEG leaves of a picture, computed to the same bits on every machine.

The steps of ITU-T T.81 that lose something, without the lossless rest: YCbCr, colours at half the
size, the cosine transform of 8x8 blocks, its coefficients rounded to multiples of a table. A codec
would do, but codecs differ in their last bit; here all sums are written out in order.
"""

import numpy as np

# Tables K.1 and K.2 of the standard, for brightness and colours.
_BRIGHTNESS = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip
_COLORS = np.full((8, 8), 99, np.float32)
_COLORS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# Halves of cos(k pi / 16), and the transform's rows for even and for odd frequencies.
_C = [0.5, 0.4903926402, 0.4619397663, 0.4157348062, 0.3535533906, 0.2777851165, 0.1913417162,
      0.0975451610]  # fmt: skip
_EVEN = np.array([
    [_C[4], _C[4], _C[4], _C[4]], [_C[2], _C[6], -_C[6], -_C[2]],
    [_C[4], -_C[4], -_C[4], _C[4]], [_C[6], -_C[2], _C[2], -_C[6]],
], np.float32)  # fmt: skip
_ODD = np.array([
    [_C[1], _C[3], _C[5], _C[7]], [_C[3], -_C[7], -_C[1], -_C[5]],
    [_C[5], -_C[1], _C[7], _C[3]], [_C[7], -_C[5], _C[3], -_C[1]],
], np.float32)  # fmt: skip


def compressed(rgb, coarseness):
    """A picture after JPEG.

    Args:
        rgb: float32 (3, H, W) in 0..255.
        coarseness: float; the tables are multiplied by it. 1 is a codec's quality 50, 0.2 its 90.

    Returns:
        float32 (3, H, W), not clipped.
    """
    height, width = rgb.shape[1:]
    tall, wide = -(-height // 16) * 16, -(-width // 16) * 16
    r, g, b = np.pad(rgb, ((0, 0), (0, tall - height), (0, wide - width)), mode="edge")
    f = np.float32
    y = f(0.299) * r + f(0.587) * g + f(0.114) * b
    table = np.maximum(np.floor(_BRIGHTNESS * f(coarseness) + f(0.5)), 1)
    colors = np.maximum(np.floor(_COLORS * f(coarseness) + f(0.5)), 1)
    small = []
    for c in (f(0.564) * (b - y), f(0.713) * (r - y)):
        quarter = (c[::2, ::2] + c[1::2, ::2] + (c[::2, 1::2] + c[1::2, 1::2])) * f(0.25)
        small.append(_rounded(quarter, colors).repeat(2, 0).repeat(2, 1))
    y, (cb, cr) = _rounded(y - 128, table) + 128, small
    found = np.stack([y + f(1.403) * cr, y - f(0.344) * cb - f(0.714) * cr, y + f(1.773) * cb])
    return found[:, :height, :width]


def _rounded(plane, table):
    """A plane whose blocks' cosine coefficients are rounded to multiples of a table."""
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8).transpose(1, 3, 0, 2)  # (8, 8, ...)
    blocks = _transform(_transform(blocks).swapaxes(0, 1))  # (frequency across, down, ...)
    steps = table.T[:, :, None, None]
    blocks = np.floor(blocks / steps + np.float32(0.5)) * steps
    blocks = _back(_back(blocks).swapaxes(0, 1))
    return blocks.transpose(2, 0, 3, 1).reshape(height, width)


def _product(matrix, x):
    m = matrix[:, :, None, None, None]
    return m[:, 0] * x[0] + m[:, 1] * x[1] + m[:, 2] * x[2] + m[:, 3] * x[3]


def _transform(x):
    """The cosine transform along the first axis, of length 8."""
    out = np.empty(x.shape, np.float32)
    last = x[:3:-1]
    out[::2], out[1::2] = _product(_EVEN, x[:4] + last), _product(_ODD, x[:4] - last)
    return out


def _back(x):
    even, odd = _product(_EVEN.T, x[::2]), _product(_ODD.T, x[1::2])
    return np.concatenate([even + odd, (even - odd)[::-1]])
