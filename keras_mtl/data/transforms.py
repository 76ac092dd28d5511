"""The augmentation of the published recipes, on one image and its labels, in TensorFlow.

    image, labels = transforms.augment(image, labels, tasks, (448, 576), seed=(0, 7))

Random scaling, a random crop, mirroring, photometric distortion, centred padding, in this order;
what evaluation needs of it is `centred`. A seed, two integers, settles every draw: the same seed
gives the same pixels, in whatever order and on however many threads examples are worked on.

Labels come as they are stored and leave as their task wants them: a task moves its own label.
"""

from collections.abc import Sequence

from keras_mtl.data.colour import distorted
from keras_mtl.data.geometry import Adjustment, Change, cut, padded, resized, scaled_size, sources
from keras_mtl.tasks import Task

SCALES = (0.5, 2.0)
LARGEST_SHARE = 0.75  # of a crop's labelled pixels that one class may cover
REDRAWS = 10


def augment(
    image, labels: dict, tasks: Sequence[Task], size: tuple[int, int], seed, mirror: bool = True
):
    """Scales, crops, mirrors, distorts and pads an image and its labels at random.

    Images are not scaled where a task takes their camera into account (`Task.takes_camera`).

    Args:
        image: uint8 tensor `(H, W, 3)`.
        labels: dict from task name to label, as stored.
        tasks: list of tasks. The first that says so (`settles_crops`) settles which crops are
            drawn again.
        size: `(height, width)` of the result.
        seed: two integers.
        mirror: bool. Whether half of the images are mirrored left to right.

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
    ready = prepare_labels(labels, tasks)
    image, ready, adjustment = move(image, ready, tasks, size, seed, mirror)
    return image, finish_labels(ready, adjustment, tasks)


def prepare_labels(labels: dict, tasks: Sequence[Task]) -> dict:
    """Labels as stored, made ready to be moved in every epoch.

    Args:
        labels: dict from task name to label.
        tasks: list of tasks.
    """
    return {task.name: task.prepare_move(labels[task.name]) for task in tasks}


def move(
    image, labels: dict, tasks: Sequence[Task], size: tuple[int, int], seed, mirror: bool = True
):
    """All of `augment` but what labels say of it, which is best left until they are a batch.

    Args:
        image, tasks, size, seed, mirror: see `augment`.
        labels: what `prepare_labels` gave.

    Returns:
        `(image, labels, adjustment)`, the last two for `finish_labels`.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    draws = tf.random.stateless_uniform([2 + 2 * (REDRAWS + 1)], seeds[0])
    # What appears larger is nearer to some tasks, and to others another camera has taken it: where
    # a camera counts, images keep their scale.
    least, most = (1.0, 1.0) if any(task.takes_camera for task in tasks) else SCALES
    factor = least + (most - least) * draws[0]
    mirrored = tf.logical_and(mirror, draws[1] < 0.5)
    scaled = scaled_size(image, factor)
    window = tf.minimum(scaled, size)
    places = tf.reshape(draws[2:], (-1, 2))
    source = tf.shape(image)[:2]
    corner = _corner(labels, tasks, source, scaled, window, places)
    change = Change(source, scaled, corner, window, size, factor, mirrored)
    labels = {task.name: task.move(labels[task.name], change) for task in tasks}
    image = resized(image, scaled, corner, window)
    image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    return padded(distorted(image, seeds[1]), size), labels, change.adjustment


def finish_labels(labels: dict, adjustment: Adjustment, tasks: Sequence[Task]) -> dict:
    """Labels as the tasks want them, from what `move` returned.

    Args:
        labels, adjustment: of `move`.
        tasks: list of tasks.
    """
    return {task.name: task.finish_move(labels[task.name], adjustment) for task in tasks}


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
    change = Change(whole, whole, corner, window, size)
    ready = prepare_labels(labels, tasks)
    ready = {task.name: task.move(ready[task.name], change) for task in tasks}
    image = tf.cast(cut(image, corner, window), tf.float32)
    return padded(image, size), finish_labels(ready, change.adjustment, tasks)


def keep_some(labels: dict, tasks: Sequence[Task], count: int, seed) -> dict:
    """Keeps the labels of `count` tasks, drawn at random, and makes the others say nothing.

    Args:
        labels: dict from task name to label, as stored.
        tasks: list of tasks.
        count: int. How many keep their label.
        seed: two integers.

    Returns:
        dict like `labels`, the others as their task erases them.

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
        nothing = task.erase(labels[task.name])
        label = tf.nest.map_structure(
            lambda stored, none: tf.cast(stored, none.dtype), labels[task.name], nothing
        )
        kept[task.name] = tf.cond(
            rank[i] < count,
            lambda label=label: label,
            lambda nothing=nothing: nothing,
        )
    return kept


def _corner(labels, tasks, size, scaled, window, places):
    """The first window that is varied enough, or the last one drawn.

    Args:
        places: float `(REDRAWS + 1, 2)` in 0..1.
    """
    import tensorflow as tf

    room = scaled - window
    corners = tf.cast(places * tf.cast(room + 1, tf.float32), tf.int32)
    corners = tf.minimum(corners, room)
    task = next((task for task in tasks if task.settles_crops), None)
    if task is None:
        return corners[0]
    classes = labels[task.name][0]
    # Where nothing is labelled, or only one window exists, drawing again changes nothing.
    matters = tf.logical_and(tf.reduce_any(room > 0), tf.reduce_any(classes != task.ignore))

    def again(i):
        def uniform():
            rows, columns = sources(size, scaled, corners[i], window)
            top, in_rows = _repeats(rows)
            left, in_columns = _repeats(columns)
            repeats = in_columns[:, None] * in_rows
            crop = cut(classes, (left, top), tf.shape(repeats))
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
    ignored = classes == ignore  # which may be negative
    classes, repeats = tf.where(ignored, 0, classes), tf.where(ignored, 0, repeats)
    counts = tf.math.bincount(classes, repeats, minlength=2)
    most, total = tf.reduce_max(counts), tf.reduce_sum(counts)
    share = tf.cast(most, tf.float32) > LARGEST_SHARE * tf.cast(total, tf.float32)
    return tf.logical_or(share, most == total)
