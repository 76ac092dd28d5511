"""The augmentation of the published recipes, on one image and its labels, in TensorFlow.

    image, labels = transforms.augment(image, labels, tasks, (448, 576), seed=(0, 7))

Random scaling, a random crop, mirroring, photometric distortion, centred padding, in this order;
what evaluation needs of it is `centred`. A seed, two integers, settles every draw: the same seed
gives the same pixels, in whatever order and on however many threads examples are worked on.

Labels come as they are stored (`(H, W)` or `(H, W, c)`, of any number type) and leave as their task
wants them. They stay with the image to the pixel: the centre of pixel i of the scaled image lies at
(i + 0.5) / scale in the original, for the image and for every label.
"""

from collections.abc import Sequence

from keras_mtl.images import IMAGE_MEAN
from keras_mtl.tasks import HumanParts, SemanticSegmentation, SurfaceNormals, Task

SCALES = (0.5, 2.0)
LARGEST_SHARE = 0.75  # of a crop's labelled pixels that one class may cover
REDRAWS = 10
BRIGHTNESS = 32.0  # of 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18 / 180  # of the colour circle


def augment(image, labels: dict, tasks: Sequence[Task], size: tuple[int, int], seed):
    """Scales, crops, mirrors, distorts and pads an image and its labels at random.

    Args:
        image: uint8 tensor `(H, W, 3)`.
        labels: dict from task name to label, as stored.
        tasks: list of tasks. Classes of the first one for semantic segmentation (not of parts)
            settle which crops are drawn again.
        size: `(height, width)` of the result.
        seed: two integers.

    Returns:
        `(image, labels)`: float32 `(height, width, 3)` in 0..255, and labels as the tasks want
        them.

    Example:

    >>> image, label = np.zeros((20, 30, 3), "uint8"), np.full((20, 30), 2.0, "float32")
    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> image, labels = augment(image, {"depth": label}, [task], (16, 16), seed=(0, 1))
    >>> image.shape.as_list(), labels["depth"].shape.as_list()
    ([16, 16, 3], [16, 16, 1])
    """
    image, planes, change = moved(image, as_planes(labels, tasks), tasks, size, seed)
    return image, said(planes, change, tasks)


def moved(image, planes: dict, tasks: Sequence[Task], size: tuple[int, int], seed):
    """All of `augment` but what labels say of it, which is best left until they are a batch.

    Args:
        image, tasks, size, seed: see `augment`.
        planes: what `as_planes` made of the labels.

    Returns:
        `(image, planes, change)`, for `said`: planes `(c, height, width)` of the numbers stored,
        and the change, a dict of the `factor` of scaling and whether it was `mirrored`.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    draws = tf.random.stateless_uniform([2 + 2 * (REDRAWS + 1)], seeds[0])
    factor = SCALES[0] + (SCALES[1] - SCALES[0]) * draws[0]
    mirrored = draws[1] < 0.5
    scaled = scaled_size(image, factor)
    window = tf.minimum(scaled, size)
    places = tf.reshape(draws[2:], (-1, 2))
    corner = _corner(planes, tasks, tf.shape(image)[:2], scaled, window, places)
    rows, columns = sources(tf.shape(image)[:2], scaled, corner, window)
    columns = tf.cond(mirrored, lambda: tf.reverse(columns, [0]), lambda: columns)
    planes = framed(planes, rows, columns, size)
    image = resized(image, scaled, corner, window)
    image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    change = {"factor": factor, "mirrored": mirrored}
    return padded(distorted(image, seeds[1]), size), planes, change


def said(planes: dict, change: dict, tasks: Sequence[Task]) -> dict:
    """Labels as the tasks want them, from what `moved` returned."""
    import tensorflow as tf

    labels = {}
    for task in tasks:
        label = tf.transpose(planes[task.name], [1, 2, 0])
        label = task.scaled_label(finished({task.name: label}, [task])[task.name], change["factor"])
        labels[task.name] = tf.where(change["mirrored"], task.flipped_label(label), label)
    return labels


def centred(image, labels: dict, tasks: Sequence[Task], size: tuple[int, int]):
    """Cuts out the middle of an image and its labels, and pads them around, to a size.

    Args:
        image, labels, tasks, size: see `augment`.

    Returns:
        See `augment`.

    Example:

    >>> image, labels = centred(np.zeros((4, 6, 3), "uint8"), {}, [], (2, 8))
    >>> image[0, :, 0].numpy().astype(int).tolist()  # the mean red around black
    [123, 0, 0, 0, 0, 0, 0, 123]
    """
    import tensorflow as tf

    whole = tf.shape(image)[:2]
    window = tf.minimum(whole, size)
    corner = (whole - window) // 2
    planes = framed(as_planes(labels, tasks), *sources(whole, whole, corner, window), size)
    labels = {name: tf.transpose(label, [1, 2, 0]) for name, label in planes.items()}
    image = tf.cast(_cut(image, corner, window), tf.float32)
    return padded(image, size), finished(labels, tasks)


def keep_some(labels: dict, tasks: Sequence[Task], count: int, seed) -> dict:
    """Keeps the labels of `count` tasks, drawn at random, and makes the others say nothing.

    Args:
        labels: dict from task name to label, as stored.
        tasks: list of tasks.
        count: int. How many keep their label.
        seed: two integers.

    Returns:
        dict like `labels`, the others full of their task's no-label value.

    Example:

    >>> labels = {"sal": np.zeros((2, 2), "uint8"), "edge": np.zeros((2, 2), "uint8")}
    >>> kept = keep_some(labels, keras_mtl.tasks.pascal_context("sal", "edge"), 1, seed=(0, 1))
    >>> sorted(int(label[0, 0]) for label in kept.values())
    [0, 255]
    """
    import tensorflow as tf

    rank = tf.argsort(tf.argsort(tf.random.stateless_uniform([len(tasks)], seed)))
    kept = {}
    for i, task in enumerate(tasks):
        label = tf.convert_to_tensor(labels[task.name])
        nothing = tf.cast(task.ignore, label.dtype)
        kept[task.name] = tf.cond(
            rank[i] < count,
            lambda label=label: label,
            lambda label=label, nothing=nothing: tf.fill(tf.shape(label), nothing),
        )
    return kept


# === Scaling and cropping ===


def scaled_size(image, factor):
    """Height and width of an image scaled by a factor, in whole pixels: an int32 tensor `(2,)`."""
    import tensorflow as tf

    size = tf.cast(tf.shape(image)[:2], tf.float32)
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), 1)


def resized(image, scaled, corner, window):
    """The pixels, bilinear, that lie in a window of the scaled image.

    Args:
        image: tensor `(H, W, 3)`.
        scaled: height and width of the scaled image.
        corner: the window's first row and column in it.
        window: height and width of the window.

    Returns:
        float32 `(*window, 3)`, equal to this part of the whole image, resized.
    """
    import tensorflow as tf

    size = tf.shape(image)[:2]

    def whole():
        return _cut(tf.image.resize(image, scaled), corner, window)

    def only_the_window():
        return tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=window,
            scale=tf.cast(scaled, tf.float32) / tf.cast(size, tf.float32),
            translation=-tf.cast(corner, tf.float32),
            kernel_type="triangle",
            antialias=False,
        )[0]

    # The quicker kernel makes up for what is cut off again, unless that is most of the image.
    mostly_cut = tf.reduce_prod(scaled) > 5 * tf.reduce_prod(window)
    return tf.cond(mostly_cut, only_the_window, whole)


def _cut(image, corner, window):
    return image[corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]


def sources(size, scaled, corner, window):
    """For each row and each column of a window of the scaled image the nearest one in the image."""
    import tensorflow as tf

    # floor((i + 0.5) * size / scaled), in whole numbers.
    size, scaled = tf.cast(size, tf.int64), tf.cast(scaled, tf.int64)
    corner, window = tf.cast(corner, tf.int64), tf.cast(window, tf.int64)

    def nearest(k):
        numbers = tf.range(window[k]) + corner[k]
        return tf.cast((2 * numbers + 1) * size[k] // (2 * scaled[k]), tf.int32)

    return nearest(0), nearest(1)


def as_planes(labels: dict, tasks: Sequence[Task]) -> dict:
    """Labels as `framed` takes them: `(c, W + 1, H + 1)`, none in the last column and row.

    Whole rows are gathered much quicker than columns; so columns lie where rows did, until they
    have been gathered.
    """
    import tensorflow as tf

    planes = {}
    for task in tasks:
        label = tf.convert_to_tensor(labels[task.name])
        kind = label.dtype
        if kind.is_bool or not kind.min <= task.ignore <= kind.max:
            label = tf.cast(label, task.label_dtype)  # which can say "no label"
        shape = tf.shape(label)
        label = tf.reshape(label, [shape[0], shape[1], task.label_channels or 1])
        nothing = tf.cast(task.ignore, label.dtype)
        frame = [[0, 0], [0, 1], [0, 1]]
        planes[task.name] = tf.pad(tf.transpose(label), frame, constant_values=nothing)
    return planes


def framed(planes: dict, rows, columns, size: tuple[int, int]) -> dict:
    """Rows and columns of labels, in the middle of a frame of no label.

    Args:
        planes: what `as_planes` made of the labels.
        rows, columns: which ones, in this order.
        size: `(height, width)` of the result.

    Returns:
        dict from task name to `(c, height, width)`, of the numbers stored.
    """
    import tensorflow as tf

    found = {}
    for name, label in planes.items():
        end = tf.shape(label) - 1
        label = tf.gather(label, _framed(columns, end[1], size[1]), axis=1)
        label = tf.gather(tf.transpose(label, [0, 2, 1]), _framed(rows, end[2], size[0]), axis=1)
        found[name] = label
    return found


def _framed(places, nothing, length):
    """Places in the middle of others that all lie where there is no label."""
    import tensorflow as tf

    before, after = _margins(tf.size(places), length)
    return tf.ensure_shape(tf.pad(places, [[before, after]], constant_values=nothing), [length])


def _margins(inner, outer):
    before = (outer - inner) // 2
    return before, outer - inner - before


def _corner(planes, tasks, size, scaled, window, places):
    """The first window that is varied enough, or the last one drawn.

    Args:
        places: float `(REDRAWS + 1, 2)` in 0..1.
    """
    import tensorflow as tf

    room = scaled - window
    corners = tf.cast(places * tf.cast(room + 1, tf.float32), tf.int32)
    corners = tf.minimum(corners, room)
    task = _class_task(tasks)
    if task is None:
        return corners[0]
    classes = planes[task.name][0]
    # Where nothing is labelled, or only one window exists, drawing again changes nothing.
    matters = tf.logical_and(tf.reduce_any(room > 0), tf.reduce_any(classes != task.ignore))

    def again(i):
        def uniform():
            rows, columns = sources(size, scaled, corners[i], window)
            top, in_rows = _repeats(rows)
            left, in_columns = _repeats(columns)
            repeats = in_columns[:, None] * in_rows
            crop = _cut(classes, (left, top), tf.shape(repeats))
            return too_uniform(crop, repeats, task.ignore)

        return tf.cond(tf.logical_and(matters, i < REDRAWS), uniform, lambda: False)

    return corners[tf.while_loop(again, lambda i: [i + 1], [tf.constant(0)])[0]]


def _repeats(places):
    """The first of places in ascending order, and how often each one from there on comes."""
    import tensorflow as tf

    return places[0], tf.math.bincount(places - places[0])


def too_uniform(classes, repeats, ignore):
    """Whether fewer than two classes are in a label, or one covers more than 75 % of it.

    Args:
        classes: any shape.
        repeats: int32, the same shape. How often each pixel counts.
        ignore: the class that does not.
    """
    import tensorflow as tf

    classes, repeats = tf.reshape(tf.cast(classes, tf.int32), [-1]), tf.reshape(repeats, [-1])
    counts = tf.math.bincount(classes, repeats, minlength=2)
    counts = tf.where(tf.range(tf.size(counts)) == ignore, 0, counts)
    most, total = tf.reduce_max(counts), tf.reduce_sum(counts)
    share = tf.cast(most, tf.float32) > LARGEST_SHARE * tf.cast(total, tf.float32)
    return tf.logical_or(share, most == total)


def _class_task(tasks):
    kinds = (t for t in tasks if isinstance(t, SemanticSegmentation))
    return next((task for task in kinds if not isinstance(task, HumanParts)), None)


def finished(labels: dict, tasks: Sequence[Task]) -> dict:
    """Labels in the shapes and number types of their tasks; normals in 8 bit as unit vectors."""
    import tensorflow as tf

    done = {}
    for task in tasks:
        label = labels[task.name]
        if isinstance(task, SurfaceNormals) and label.dtype == tf.uint8:
            label = unit_vectors(label)
        shape = tf.shape(label)
        label = tf.reshape(label, task.label_shape(shape[0], shape[1]))
        done[task.name] = tf.cast(label, task.label_dtype)
    return done


def unit_vectors(colors):
    """Normals from 8-bit colours: n = 2 v / 255 - 1, of length 1; black stays (0, 0, 0).

    Example:

    >>> x, y, z = unit_vectors(np.array([255, 128, 0], "uint8")).numpy()
    >>> f"{x:.1f} {y:.1f} {z:.1f}"
    '0.7 0.0 -0.7'
    """
    import tensorflow as tf

    # Channel after channel, not interleaved, takes a quarter of the time.
    vectors = tf.transpose(tf.reshape(tf.cast(colors, tf.float32), [-1, 3])) * (2 / 255) - 1
    x, y, z = tf.unstack(vectors)
    square = x * x + y * y + z * z
    # Black has the square 3, and unit vectors 1 but for the rounding to 8 bits.
    vectors *= tf.where(square > 2.9, 0.0, tf.math.rsqrt(square))
    return tf.reshape(tf.transpose(vectors), tf.shape(colors))


# === Colours: float32 images in 0..255 ===


def distorted(image, seed):
    """Brightness, contrast, saturation and hue, each changed with probability one half.

    Contrast comes before or after saturation and hue, at random.

    Args:
        image: float32 `(H, W, 3)` in 0..255.
        seed: two integers.

    Returns:
        float32 `(H, W, 3)` in 0..255.
    """
    import tensorflow as tf

    draws = tf.random.stateless_uniform([9], seed)

    def perhaps(change, image, k, low, high, condition=True):
        amount = low + (high - low) * draws[4 + k]
        wanted = tf.logical_and(draws[k] < 0.5, condition)
        return tf.cond(wanted, lambda: change(image, amount), lambda: image)

    contrast_first = draws[8] < 0.5
    image = perhaps(brightness, image, 0, -BRIGHTNESS, BRIGHTNESS)
    image = perhaps(contrast, image, 1, *CONTRAST, contrast_first)
    image = perhaps(saturation, image, 2, *SATURATION)
    image = perhaps(hue, image, 3, -HUE, HUE)
    return perhaps(contrast, image, 1, *CONTRAST, tf.logical_not(contrast_first))


def brightness(image, delta):
    """Adds `delta` to every value."""
    import tensorflow as tf

    return tf.clip_by_value(image + delta, 0.0, 255.0)


def contrast(image, factor):
    """Multiplies every value by `factor`."""
    import tensorflow as tf

    return tf.clip_by_value(image * factor, 0.0, 255.0)


def saturation(image, factor):
    """Multiplies the saturation (of hue, saturation, value) by `factor`, up to pure colours."""
    import tensorflow as tf

    # Value and hue stay if every channel moves away from the largest by the same factor.
    channels, value, spread = _channels(image)
    factor = tf.minimum(factor, tf.math.divide_no_nan(value, spread))
    return _image([value - (value - channel) * factor for channel in channels])


def hue(image, turn):
    """Turns the hue (of hue, saturation, value) by a share of the colour circle."""
    import tensorflow as tf

    # In sixths of the colour circle, red, green and blue fall off from their maximum as the same
    # tent does, around 0 (or 6), 2 and 4.
    (red, green, blue), value, spread = _channels(image)
    per_sixth = tf.math.divide_no_nan(1.0, spread)
    sixths = 6 * turn + tf.where(
        value == red,
        (green - blue) * per_sixth,
        tf.where(value == green, 2 + (blue - red) * per_sixth, 4 + (red - green) * per_sixth),
    )
    sixths -= 6 * tf.floor(sixths / 6)
    falls = [2 - tf.abs(sixths - 3), tf.abs(sixths - 2) - 1, tf.abs(sixths - 4) - 1]
    return _image([value - spread * tf.clip_by_value(fall, 0.0, 1.0) for fall in falls])


# One channel after the other, not interleaved: in less than half the time of tf.image.adjust_hue
# and tf.image.adjust_saturation.


def _channels(image):
    """Red, green and blue, the largest of them, and how far it is from the smallest."""
    import tensorflow as tf

    red, green, blue = tf.unstack(tf.transpose(image, [2, 0, 1]))
    value = tf.maximum(tf.maximum(red, green), blue)
    return (red, green, blue), value, value - tf.minimum(tf.minimum(red, green), blue)


def _image(channels):
    import tensorflow as tf

    # Rounding may leave the range.
    return tf.nn.relu(tf.transpose(tf.stack(channels), [1, 2, 0]))


# === Padding ===


def padded(image, size: tuple[int, int]):
    """Centres a float32 image, no larger than `size`, in a frame of the mean colour."""
    import tensorflow as tf

    height, width = size
    inner = tf.shape(image)
    top, bottom = _margins(inner[0], height)
    left, right = _margins(inner[1], width)

    def strip(rows, columns):
        return tf.broadcast_to(tf.constant(IMAGE_MEAN, image.dtype), [rows, columns, 3])

    image = tf.concat([strip(top, inner[1]), image, strip(bottom, inner[1])], 0)
    image = tf.concat([strip(height, left), image, strip(height, right)], 1)
    return tf.ensure_shape(image, [height, width, 3])
