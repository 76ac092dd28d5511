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

from keras_mtl.image_statistics import IMAGE_MEAN
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
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    draws = tf.random.stateless_uniform([2 + 2 * (REDRAWS + 1)], seeds[0])
    factor = SCALES[0] + (SCALES[1] - SCALES[0]) * draws[0]
    scaled = scaled_size(image, factor)
    window = tf.minimum(scaled, size)
    places = tf.reshape(draws[2:], (-1, 2))
    corner = _corner(labels, tasks, tf.shape(image)[:2], scaled, window, places)
    image, labels = sample(image, labels, scaled, corner, window)
    labels = finished(labels, tasks)
    labels = {task.name: task.scaled_label(labels[task.name], factor) for task in tasks}
    image, labels = tf.cond(
        draws[1] < 0.5, lambda: mirrored(image, labels, tasks), lambda: (image, labels)
    )
    return padded(distorted(image, seeds[1]), labels, tasks, size)


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

    window = tf.minimum(tf.shape(image)[:2], size)
    top, left = tf.unstack((tf.shape(image)[:2] - window) // 2)

    def cut(x):
        return x[top : top + window[0], left : left + window[1]]

    image = tf.cast(cut(image), tf.float32)
    labels = finished({name: cut(label) for name, label in labels.items()}, tasks)
    return padded(image, labels, tasks, size)


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


def sample(image, labels: dict, scaled, corner, window):
    """The pixels that lie in a window of the scaled image.

    They equal those of the whole image and labels, resized.

    Args:
        image: tensor `(H, W, 3)`.
        labels: dict from task name to `(H, W)` or `(H, W, c)`.
        scaled: height and width of the scaled image.
        corner: the window's first row and column in it.
        window: height and width of the window.

    Returns:
        `(image, labels)`: the image float32, bilinear; labels of the same type, nearest.
    """
    import tensorflow as tf

    size = tf.shape(image)[:2]
    scaled, corner, window = (tf.cast(x, tf.int32) for x in (scaled, corner, window))

    def whole():
        top, left = tf.unstack(corner)
        resized = tf.image.resize(image, scaled)
        return resized[top : top + window[0], left : left + window[1]]

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
    rows, columns = _sources(size, scaled, corner, window)
    labels = {name: _taken(label, rows, columns) for name, label in labels.items()}
    return tf.cond(mostly_cut, only_the_window, whole), labels


def _sources(size, scaled, corner, window):
    """For each row and column of the window the nearest one in the image."""
    import tensorflow as tf

    # floor((i + 0.5) * size / scaled), in whole numbers.
    size, scaled = tf.cast(size, tf.int64), tf.cast(scaled, tf.int64)
    corner, window = tf.cast(corner, tf.int64), tf.cast(window, tf.int64)

    def nearest(k):
        numbers = tf.range(window[k]) + corner[k]
        return (2 * numbers + 1) * size[k] // (2 * scaled[k])

    return nearest(0), nearest(1)


def _taken(label, rows, columns):
    """Rows and columns of a label, in the quickest way for its number of channels."""
    import tensorflow as tf

    if len(label.shape) == 3 and label.shape[-1] != 1:
        return tf.gather(tf.gather(label, columns, axis=1), rows)
    return _swapped(_gathered(label, rows, columns))


def _gathered(label, rows, columns):
    """Rows and columns of a label, transposed: gathering whole rows twice takes a third of the
    time of picking columns."""
    import tensorflow as tf

    return tf.gather(_swapped(tf.gather(label, rows)), columns)


def _swapped(label):
    import tensorflow as tf

    return tf.transpose(label, [1, 0, *range(2, len(label.shape))])


def _corner(labels, tasks, size, scaled, window, places):
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
    classes = labels[task.name]
    # Where nothing is labelled, or only one window exists, drawing again changes nothing.
    matters = tf.logical_and(tf.reduce_any(room > 0), tf.reduce_any(classes != task.ignore))

    def again(i):
        def uniform():
            rows, columns = _sources(size, scaled, corners[i], window)
            return too_uniform(_gathered(classes, rows, columns), task.ignore)

        return tf.cond(tf.logical_and(matters, i < REDRAWS), uniform, lambda: False)

    return corners[tf.while_loop(again, lambda i: [i + 1], [tf.constant(0)])[0]]


def too_uniform(classes, ignore):
    """Whether fewer than two classes are in a label, or one covers more than 75 % of it."""
    import tensorflow as tf

    counts = tf.math.bincount(tf.cast(tf.reshape(classes, [-1]), tf.int32), minlength=2)
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

    # Sums over so few channels, and factors for them, are quickest as matrix products.
    vectors = tf.reshape(tf.cast(colors, tf.float32), [-1, 3]) * (2 / 255) - 1
    square = tf.matmul(vectors * vectors, tf.ones([3, 1]))
    # Black has the square 3, and unit vectors 1 but for the rounding to 8 bits.
    shrink = tf.where(square > 2.9, 0.0, tf.math.rsqrt(square))
    return tf.reshape(vectors * tf.matmul(shrink, tf.ones([1, 3])), tf.shape(colors))


# === Mirroring ===


def mirrored(image, labels: dict, tasks: Sequence[Task]):
    """Image and finished labels with left and right swapped."""
    import tensorflow as tf

    labels = {task.name: task.flipped_label(tf.reverse(labels[task.name], [1])) for task in tasks}
    return tf.reverse(image, [1]), labels


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

    # Value and hue stay if every channel moves away from the largest by the same factor. With the
    # channels one after the other, not interleaved: a quarter of the time of
    # tf.image.adjust_saturation.
    channels = tf.transpose(image, [2, 0, 1])
    value, least = tf.reduce_max(channels, 0), tf.reduce_min(channels, 0)
    factor = tf.minimum(factor, tf.math.divide_no_nan(value, value - least))
    changed = tf.nn.relu(value - (value - channels) * factor)  # rounding may leave the range
    return tf.transpose(changed, [1, 2, 0])


def hue(image, turn):
    """Turns the hue (of hue, saturation, value) by a share of the colour circle."""
    import tensorflow as tf

    # In half the time of tf.image.adjust_hue: the channels one after the other, and the colour
    # circle in sixths. Red, green and blue are the same tent, 5, 3 and 1 sixths apart.
    channels = tf.transpose(image, [2, 0, 1])
    red, green, blue = tf.unstack(channels)
    value = tf.reduce_max(channels, 0)
    spread = value - tf.reduce_min(channels, 0)
    per_sixth = tf.math.divide_no_nan(1.0, spread)
    sixths = tf.where(
        value == red,
        (green - blue) * per_sixth,
        tf.where(value == green, 2 + (blue - red) * per_sixth, 4 + (red - green) * per_sixth),
    )
    sixths += tf.reshape(tf.constant([5.0, 3.0, 1.0]) + 6 * turn, [3, 1, 1])
    sixths -= 6 * tf.floor(sixths / 6)
    tent = tf.clip_by_value(tf.minimum(sixths, 4 - sixths), 0.0, 1.0)
    changed = tf.nn.relu(value - spread * tent)  # rounding may leave the range
    return tf.transpose(changed, [1, 2, 0])


# === Padding ===


def padded(image, labels: dict, tasks: Sequence[Task], size: tuple[int, int]):
    """Centres image and finished labels in a frame of the mean colour and of no label.

    Args:
        image: float32 `(h, w, 3)`, no larger than `size`.
        labels: dict of finished labels of the same size.
        tasks: list of tasks.
        size: `(height, width)` of the result.

    Returns:
        `(image, labels)` of this size.
    """
    import tensorflow as tf

    height, width = size
    inner = tf.shape(image)[:2]
    before = (tf.constant(size) - inner) // 2
    after = size - inner - before

    def strip(rows, columns):
        return tf.broadcast_to(tf.constant(IMAGE_MEAN, image.dtype), [rows, columns, 3])

    image = tf.concat([strip(before[0], inner[1]), image, strip(after[0], inner[1])], 0)
    image = tf.concat([strip(height, before[1]), image, strip(height, after[1])], 1)
    framed = {}
    for task in tasks:
        label = labels[task.name]
        frame = tf.stack([before, after], axis=1)
        frame = tf.concat([frame, tf.zeros([len(label.shape) - 2, 2], tf.int32)], 0)
        label = tf.pad(label, frame, constant_values=tf.cast(task.ignore, label.dtype))
        framed[task.name] = tf.ensure_shape(label, task.label_shape(height, width))
    return tf.ensure_shape(image, [height, width, 3]), framed
