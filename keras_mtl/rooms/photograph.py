"""What a camera makes of the light: exposure, white balance, blur, noise, tone and JPEG."""

import numpy as np

from keras_mtl.rooms.jpeg import compressed


def develop(draw, light):
    """The picture that a camera takes.

    Args:
        draw: `shapes.Draw`.
        light: float32 (3, H, W), linear RGB.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = light.shape[1:]
    f = np.float32
    # A small picture is a large one made smaller, which averages noise and what JPEG does.
    fineness = min(1.0, max(height, width) / 320)
    gains = [f(draw.uniform(0.85, 1.15)) for _ in range(3)]
    dark_corners, blur = f(draw.uniform(0.0, 0.35)), draw.uniform(0.0, 0.25)
    level = f(_exposure(draw, light))
    y = (np.arange(height, dtype=f) * 2 - (height - 1))[:, None] / f(height)
    x = (np.arange(width, dtype=f) * 2 - (width - 1)) / f(width)
    lens = level * (1 - dark_corners * f(0.5) * (x * x + y * y))
    picture = np.stack([c * (lens * gain) for c, gain in zip(light, gains, strict=True)])
    np.minimum(picture, 1, out=picture)
    np.sqrt(picture, out=picture)  # the display's gamma (about 2)
    grain, contrast = draw.uniform(0.0, 1.0), f(draw.uniform(0.0, 0.6))
    noise = _noise(draw, light.shape, fineness * (0.002 + 0.045 * grain * grain * grain))
    if draw.chance(0.5):  # some cameras smooth it away, with what it lies on
        picture += noise
        picture = _blurred(picture, blur)
    else:
        picture = _blurred(picture, blur)
        picture += noise
    np.clip(picture, 0, 1, out=picture)
    steeper = picture * picture * (3 - 2 * picture)
    steeper -= picture
    steeper *= contrast
    picture += steeper
    grey = (picture[0] + picture[1] + picture[1] + picture[2]) * f(0.25)
    picture -= grey
    picture *= f(draw.uniform(0.75, 1.2))
    picture += grey
    picture *= 255
    if draw.chance(0.6):
        picture = compressed(picture, fineness * draw.uniform(0.1, 0.9))
    picture += f(0.5)
    np.clip(picture, 0, 255, out=picture)
    return np.ascontiguousarray(np.moveaxis(picture.astype(np.uint8), 0, -1))


def _exposure(draw, light):
    """A factor that makes a bright part of the picture nearly white."""
    share, target = draw.uniform(0.85, 0.99), draw.uniform(0.35, 0.9)
    bright = light[0] + light[1] + light[1] + light[2]
    # Counted, not summed: the order of a sum is each machine's own.
    counts = np.bincount(np.minimum(bright * 256, 16383).astype(np.int64).ravel(), minlength=16384)
    at = int(np.searchsorted(np.cumsum(counts), share * bright.size))
    return target * 1024 / max(at, 24)


def _noise(draw, shape, amount):
    """Noise of all three channels, more in colour than in brightness."""
    count = shape[1] * shape[2]
    octets = draw.raw(count).astype("<u8").view(np.uint8).reshape(count, 8).T
    octets = octets.astype(np.int16).reshape(8, *shape[1:])
    common = octets[6] + octets[7] - 255
    each = octets[0:3] + octets[3:6] - 255
    return (each + common) * np.float32(amount / 128)


def _blurred(picture, share):
    """Each pixel with a share of its neighbours, in both directions."""
    for axis in (1, 2):
        lines = np.moveaxis(picture, axis, 0)
        around = np.empty_like(picture)
        sums = np.moveaxis(around, axis, 0)
        np.add(lines[:-2], lines[2:], out=sums[1:-1])
        # The picture's edge is its own neighbour.
        sums[0], sums[-1] = lines[0] + lines[1 % len(lines)], lines[-2 % len(lines)] + lines[-1]
        around -= picture
        around -= picture
        around *= np.float32(share)
        around += picture
        picture = around
    return picture
