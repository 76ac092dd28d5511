"""No misuse takes a model's weights away, and a user's mistake is answered by one sentence."""

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.tasks import nyud
from tests import small

SIZE = (16, 24)
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, *SIZE, 3)).astype("float32")
LABELS = {
    "depth": np.full((3, *SIZE, 1), 2.0, "float32"),
    "semseg": np.ones((3, *SIZE), "int32"),
}

LATE = np.where(np.arange(3)[:, None, None, None] == 2, np.inf, IMAGES)  # the third one is spoilt


@pytest.fixture(scope="module")
def model():
    built = keras_mtl.MultiTaskBaseline(small.vit(SIZE), nyud("depth", "semseg"), head_width=4)
    built.compile("sgd")
    return built


class Batches(keras.utils.PyDataset):
    def __init__(self, *batches, **kwargs):
        super().__init__(**kwargs)
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return self.batches[i]


def spoilt(name, value):
    label = LABELS[name].copy()
    label[0, 3, 4] = value
    return {**LABELS, name: label}


# What is wrong with images and labels, and what the sentence says.
WRONG = {
    "no numbers": (IMAGES * np.nan, LABELS, "NaN or infinite"),
    "infinite": (np.where(IMAGES > 200, np.inf, IMAGES), LABELS, "NaN or infinite"),
    "huge": (IMAGES * 1e30, LABELS, "Images hold numbers from"),
    "text": (np.full(IMAGES.shape, "a"), LABELS, "RGB"),
    "small": (IMAGES[:, :8], LABELS, "Images have shape"),
    "grey": (IMAGES[..., :1], LABELS, "Images have shape"),
    "labels in a list": (IMAGES, [1, 2], "Labels are a list"),
    "a task missing": (IMAGES, {"depth": LABELS["depth"]}, "no labels for semseg"),
    "three channels": (IMAGES, {**LABELS, "depth": IMAGES}, "'depth' have shape"),
    "swapped": (
        IMAGES,
        {"depth": LABELS["semseg"], "semseg": LABELS["depth"]},
        "'depth' have shape",
    ),
    "fewer labels": (IMAGES, {**LABELS, "depth": LABELS["depth"][:2]}, "'depth' for 2 images"),
    "a class too many": (IMAGES, spoilt("semseg", 40), "'semseg' hold the value 40"),
    "a negative class": (IMAGES, spoilt("semseg", -1), "'semseg' hold the value -1"),
    "depth of nan": (IMAGES, spoilt("depth", np.nan), "'depth' hold the value nan"),
    "negative depth": (IMAGES, spoilt("depth", -1.0), "'depth' hold the value -1.0"),
    "a masked label": (
        IMAGES,
        {**LABELS, "depth": np.ma.masked_less(LABELS["depth"] * [[[1], [0]] * 12], 1)},
        "which would get lost",
    ),
    "masked images": (np.ma.masked_less(IMAGES, 9), LABELS, "which would get lost"),
    "none": (IMAGES[:0], {n: label[:0] for n, label in LABELS.items()}, "no images"),
}
DOORS = {
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y, verbose=0),
    "validation": lambda m, x, y: m.fit(IMAGES, LABELS, validation_data=(x, y), verbose=0),
    "one batch": lambda m, x, y: m.train_on_batch(x, y),
    "one batch measured": lambda m, x, y: m.test_on_batch(x, y),
    "iterator": lambda m, x, y: m.fit(iter([(x, y)]), verbose=0),
    "PyDataset": lambda m, x, y: m.fit(Batches((x, y)), verbose=0),
}
ARGUMENTS = [
    *({name: value} for name in ("batch_size", "steps_per_epoch") for value in (-2, 0, 2.5, "2")),
    *({"validation_freq": 0}, {"epochs": -1}, {"epochs": 1.5}, {"initial_epoch": -1}),
    *({"validation_steps": 0}, {"validation_batch_size": -1}, {"validation_split": 1.5}),
    *({"validation_split": 0.99}, {"epochs": None}, {"initial_epoch": None}),
    *({"class_weight": {0: 1.0}}, {"callbacks": 3}, {"callbacks": [3]}, {"verbose": "no"}),
]
SGD = keras.optimizers.SGD
COMPILE = [
    *({"loss_weights": value} for value in ([1, 2], 3, "equal", {"deph": 1, "semseg": 1})),
    *({"loss_weights": {"depth": value, "semseg": 1}} for value in (-1, np.nan, "a")),
    *({"loss": value} for value in ("mae", ["mae"], {"deph": "mae", "semseg": "mae"}, {})),
    *({"loss": {"depth": value, "semseg": "mae"}} for value in ("mea", 3)),
    *({"metrics": value} for value in (["mae"], "mae", {"deph": []}, {"depth": ["mea"]})),
    *({"optimizer": value} for value in ("sdg", 3)),
    *({"optimizer": SGD(value)} for value in (np.nan, np.inf, -1.0)),
    *({"optimizer": SGD(**{name: np.nan})} for name in ("weight_decay", "clipnorm")),
    *({"steps_per_execution": 0}, {"jit_compile": "maybe"}),
]
MEASURED = [
    *({"steps": value} for value in (-1, 0, 1.5)),
    *({"callbacks": 3}, {"verbose": 7}),
]
FOLLOWING = {
    "follows None": keras.callbacks.EarlyStopping(None),
    "mean 'depth_RMSE'": keras.callbacks.ReduceLROnPlateau("val_dpth_RMSE"),
    "nothing is validated": keras.callbacks.EarlyStopping("val_depth_RMSE"),
    "follow 'loss'": keras.callbacks.ModelCheckpoint("never.keras", save_best_only=True),
}
NO_DATA = ("a path", 3, None, {"image": IMAGES}, [[1], [2, 3]], [])


def misuses(model):
    """Name by name, what a user may do wrong, and a part of what the sentence says."""
    for how in MEASURED:
        (name,) = how
        for call in (model.evaluate, model.predict):
            yield f"{call.__name__} {how}", lambda c=call, how=how: c(IMAGES, **how), name
    weighted = {"class_weight": {0: 1.0}}
    yield "a class's weight", lambda: model.train_on_batch(IMAGES, LABELS, **weighted), "class"
    shapes = [each.shape for each in model.get_weights()]
    for name, last in {
        "nan": np.full(shapes[-1], np.nan),
        "complex": np.full(shapes[-1], 1j),
        "text": np.full(shapes[-1], "a"),
        "another shape": np.ones(7),
    }.items():
        given = [*map(np.ones, shapes[:-1]), last]
        yield f"weights of {name}", lambda given=given: model.set_weights(given), "Weight"
    for given in (None, "weights", [], [1.0]):
        yield f"weights {given!r}", lambda given=given: model.set_weights(given), "weights"
    for part, callback in FOLLOWING.items():
        how = {"callbacks": [callback], "verbose": 0}
        yield part, lambda how=how: model.fit(IMAGES, LABELS, **how), part
    for how in ARGUMENTS:
        (name,) = how
        yield f"fit {how}", lambda how=how: model.fit(IMAGES, LABELS, **{"verbose": 0, **how}), name
    for how in COMPILE:
        (name,) = how
        yield f"compile {how}", lambda how=how: model.compile(**{"optimizer": "sgd", **how}), ""
    for number, data in enumerate((*NO_DATA, iter([]), Batches())):
        for call in (model.fit, model.evaluate):
            name = f"{call.__name__} no data {number}"
            yield name, lambda call=call, data=data: call(data, verbose=0), ""
    halved = {"validation_split": 0.5, "verbose": 0}
    yield "a dataset halved", lambda: model.fit(iter([(IMAGES, LABELS)]), **halved), "not split"
    four = (IMAGES, LABELS, None, None)
    yield "predict four parts", lambda: model.predict(iter([four]), verbose=0), "have 4 parts"
    for name in ("no numbers", "infinite", "text", "small", "grey", "masked images", "none"):
        images, _, part = WRONG[name]
        for call in (model.predict, model.predict_on_batch):
            yield f"{call.__name__} {name}", lambda call=call, x=images: call(x), part
    masked = WRONG["masked images"][0][0]
    photographs = (IMAGES[:2, ..., :2], IMAGES[0] * np.nan, masked)
    for number, data in enumerate((*NO_DATA[:4], *photographs)):
        yield f"predict_maps {number}", lambda data=data: model.predict_maps(data), ""
    for value in (0, -1, 2.5, "2"):
        for call in (model.predict, model.predict_maps):
            name = f"{call.__name__} batch_size {value!r}"
            yield name, lambda c=call, v=value: c(IMAGES, batch_size=v), "batch_size is"


def assert_refused(model, call, part=""):
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        call()
    text = str(error.value)
    assert part in text and "\n" not in text and text.endswith(".") and len(text) < 350, text
    for found, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, was)


@pytest.mark.parametrize("door", list(DOORS))
def test_wrong_data(model, door):
    for images, labels, part in WRONG.values():
        assert_refused(model, lambda x=images, y=labels: DOORS[door](model, x, y), part)
    model.fit(IMAGES, LABELS, verbose=0)  # without another compile


def test_any_misuse(model):
    """In any order."""
    wrong = list(misuses(model))
    assert len({name for name, _, _ in wrong}) == len(wrong) >= 60
    for number in np.random.default_rng(0).permutation(len(wrong)):
        _, call, part = wrong[number]
        assert_refused(model, call, part)
    model.fit(IMAGES, LABELS, verbose=0)  # without another compile


def test_a_rate_that_is_none_on_the_way(model):
    """Set by a schedule of epochs: no step is made with it."""
    for rate in (np.nan, -1.0):
        rates = 0.01, rate
        scheduled = keras.callbacks.LearningRateScheduler(
            lambda epoch, _, rates=rates: rates[epoch]
        )
        with pytest.raises(ValueError, match=r"^The learning rate of SGD is [^\n]*$"):
            model.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=[scheduled])
        for call in (model.fit, model.train_on_batch):
            assert_refused(model, lambda call=call: call(IMAGES, LABELS), "The learning rate of")
        model.optimizer.learning_rate = 0.01
    assert all(np.isfinite(value).all() for value in model.get_weights())


PIXELS = np.random.default_rng(1).uniform(0, 2, (3, *SIZE)).astype("float32")
WEIGHTS = {  # of the same pixels, in every form
    "pixels": PIXELS,
    "dict": dict.fromkeys(LABELS, PIXELS),
    "a last axis": dict.fromkeys(LABELS, PIXELS[..., None]),
    "of another task too": {**dict.fromkeys(LABELS, PIXELS), "more": PIXELS},
}
WRONG_WEIGHTS = {
    "a name": ({"deph": PIXELS, "semseg": PIXELS}, "no sample_weight for depth"),
    "of one task": ({"depth": PIXELS}, "no sample_weight for semseg"),
    "small": (PIXELS[:, 1:], "15, 24); expected"),
    "channels": (IMAGES, "16, 24, 3); expected"),
    "few": (PIXELS[:2], "for 2 images"),
    "negative": (-PIXELS, "hold the value -"),
    "nan": (PIXELS * np.nan, "hold the value nan"),
    "text": ("abc", "no array of numbers"),
}


def weighted_doors(model, weights):
    """The losses at every door that takes weights."""
    how, batch = {"verbose": 0, "return_dict": True}, (IMAGES, LABELS, weights)
    yield lambda: model.evaluate(IMAGES, LABELS, sample_weight=weights, **how)
    yield lambda: model.test_on_batch(*batch, return_dict=True)
    yield lambda: model.evaluate(iter([batch]), **how)
    yield lambda: model.evaluate(Batches(batch), **how)


def test_weights_of_pixels(model):
    """Of every form, at every door, as written out for one task."""
    predicted = model.predict(IMAGES, verbose=0)["depth"]
    wanted = (PIXELS[..., None] * np.abs(predicted - LABELS["depth"])).mean()
    for weights in WEIGHTS.values():
        for door in weighted_doors(model, weights):
            assert door()["depth_loss"] == pytest.approx(wanted, rel=1e-4)
    of_images = PIXELS.mean((1, 2))
    wanted = (of_images[:, None, None, None] * np.abs(predicted - LABELS["depth"])).mean()
    for weights in (of_images, dict.fromkeys(LABELS, of_images)):
        for door in weighted_doors(model, weights):
            assert door()["depth_loss"] == pytest.approx(wanted, rel=1e-4)


def test_wrong_weights(model):
    for weights, part in WRONG_WEIGHTS.values():
        for door in weighted_doors(model, weights):
            assert_refused(model, door, part)
        batch = (IMAGES, LABELS, weights)
        for call in (
            lambda batch=batch: model.fit(IMAGES, LABELS, validation_data=batch, verbose=0),
            lambda batch=batch: model.fit(*batch[:2], sample_weight=batch[2], verbose=0),
        ):
            assert_refused(model, call, part)
    generator = iter([(IMAGES, LABELS)])
    assert_refused(model, lambda: model.fit(generator, sample_weight=PIXELS), "besides a dataset")


def test_weights_in_tensorflow_datasets(model):
    tf = pytest.importorskip("tensorflow")
    predicted = model.predict(IMAGES, verbose=0)["depth"]
    wanted = (PIXELS[..., None] * np.abs(predicted - LABELS["depth"])).mean()

    def scores(weights):
        dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, weights)).batch(3)
        return model.evaluate(dataset, verbose=0, return_dict=True)

    for weights in WEIGHTS.values():
        assert scores(weights)["depth_loss"] == pytest.approx(wanted, rel=1e-4)
    for name in ("a name", "small", "negative", "nan"):
        weights, part = WRONG_WEIGHTS[name]
        assert_refused(model, lambda weights=weights: scores(weights), part)


def test_tensorflow_datasets(model, capfd):
    tf = pytest.importorskip("tensorflow")
    for name in ("no numbers", "a class too many", "depth of nan"):
        images, labels, part = WRONG[name]
        dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
        for call in (model.fit, model.evaluate):
            assert_refused(model, lambda call=call, data=dataset: call(data, verbose=0), part)
    text = dataset.map(lambda images, labels: (tf.fill([1, *SIZE, 3], "a"), labels))
    for call in (model.fit, model.predict):
        assert_refused(model, lambda call=call: call(text), "text for 'image'")
    late = tf.data.Dataset.from_tensor_slices((LATE, LABELS)).batch(1)  # the third of three
    assert_refused(model, lambda: model.evaluate(late, verbose=0), "NaN or infinite")
    with pytest.raises(ValueError, match=r"^Images hold NaN or infinite values; [^\n]*$"):
        model.fit(late, verbose=0)
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert "Traceback" not in capfd.readouterr().err  # which TensorFlow prints by itself
    with pytest.warns(UserWarning, match="multiply by 255") as said:
        tiny = tf.data.Dataset.from_tensor_slices((IMAGES / 255, LABELS)).batch(1)
        model.fit(tiny, epochs=2, verbose=0)
        assert sum("multiply" in str(each.message) for each in said) == 1
    none = dataset.filter(lambda images, labels: False)  # which TensorFlow learns by reading
    for call in (model.fit, model.evaluate):
        assert_refused(model, lambda call=call: call(none, verbose=0), "no batch")


def test_a_loader_of_pytorch(model):
    """Looking at it draws nothing from the generators that shuffle it."""
    torch = pytest.importorskip("torch")

    def loader(labels, images=IMAGES, size=3):
        items = [(images[i], {n: label[i] for n, label in labels.items()}) for i in range(3)]
        return torch.utils.data.DataLoader(items, size, shuffle=True)

    for name in ("a class too many", "depth of nan", "a task missing"):
        _, labels, part = WRONG[name]
        for call in (model.fit, model.evaluate):
            assert_refused(
                model, lambda call=call, labels=labels: call(loader(labels), verbose=0), part
            )
    with pytest.raises(ValueError, match="^The data is of type TensorDataset; expected"):
        model.fit(torch.utils.data.TensorDataset(torch.zeros(1)), verbose=0)  # in no loader
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="40"):
        model.evaluate(loader(WRONG["a class too many"][1]), verbose=0)
    assert (torch.get_rng_state() == before).all()
    model.fit(loader(LABELS), verbose=0)
    assert_refused(model, lambda: model.evaluate(loader(LABELS, LATE, 1), verbose=0), "NaN or inf")


def test_a_late_batch_of_a_dataset_by_number(model):
    late = Batches(*((LATE[[i]], {n: x[[i]] for n, x in LABELS.items()}) for i in range(3)))
    assert_refused(model, lambda: model.evaluate(late, verbose=0), "NaN or infinite")
    for call in (model.fit, model.predict):
        with pytest.raises(ValueError, match=r"^Images hold NaN or infinite values; [^\n]*$"):
            call(late, verbose=0)
    assert all(np.isfinite(value).all() for value in model.get_weights())


class Stop(keras.callbacks.Callback):
    """Is interrupted at one moment."""

    def __init__(self, moment):
        super().__init__()
        setattr(self, moment, self.stop)

    def stop(self, *arguments, **logs):
        raise KeyboardInterrupt


MOMENTS = ["begin", "batch_begin", "batch_end", "end"]
EPOCHS = [(None, "epoch_begin"), (None, "epoch_end")]


def test_interrupted(model):
    """Training may have changed the weights by then; they are there."""
    moments = [*itertools.product(("train", "test", "predict"), MOMENTS), *EPOCHS]
    for call, moment in moments:
        run = {
            "train": lambda stop: model.fit(IMAGES, LABELS, verbose=0, callbacks=[stop]),
            "test": lambda stop: model.evaluate(IMAGES, LABELS, verbose=0, callbacks=[stop]),
            "predict": lambda stop: model.predict(IMAGES, verbose=0, callbacks=[stop]),
        }[call or "train"]
        before = model.get_weights()
        with pytest.raises(KeyboardInterrupt):
            run(Stop(f"on_{call}_{moment}" if call else f"on_{moment}"))
        after = model.get_weights()
        assert all(np.isfinite(value).all() for value in after)
        if call in ("test", "predict") or moment in ("begin", "epoch_begin"):
            for found, was in zip(after, before, strict=True):
                np.testing.assert_array_equal(found, was)


def test_no_optimizer(model):
    model.compile(None)
    for call in (model.fit, model.train_on_batch):
        assert_refused(model, lambda call=call: call(IMAGES, LABELS), "optimizer=None")


def test_frozen_between(model):
    """On JAX its optimizer would stop."""
    model.compile("sgd")
    model.fit(IMAGES, LABELS, verbose=0)
    model.freeze_backbone()
    for call in (model.fit, model.train_on_batch):
        assert_refused(model, lambda call=call: call(IMAGES, LABELS), "compile it again")
    model.compile("sgd")
    model.fit(IMAGES, LABELS, verbose=0)
    model.freeze_backbone(False)
    model.compile("sgd")


class Between(keras.callbacks.Callback):
    """Uses its model after each step."""

    def __init__(self, *calls):
        super().__init__()
        self.calls = calls

    def on_train_batch_end(self, batch, logs=None):
        for call in self.calls:
            call()


def test_a_callback_uses_its_model(model, tmp_path):
    """Between two steps the model is whole, and training goes on as if nobody had asked."""
    how = {"batch_size": 2, "shuffle": False, "verbose": 0}
    file = tmp_path / "between.weights.h5"
    reading = Between(
        lambda: model.predict(IMAGES, verbose=0),
        lambda: model.predict_maps(IMAGES[0]),
        lambda: model.evaluate(IMAGES, LABELS, verbose=0),
        lambda: model.save_weights(file),
    )
    before, found = model.get_weights(), []
    for callbacks in ([], [reading]):
        model.set_weights(before)
        model.fit(IMAGES, LABELS, callbacks=callbacks, **how)
        found.append(model.get_weights())
    for alone, asked in zip(*found, strict=True):
        np.testing.assert_array_equal(alone, asked)
    last = IMAGES[2:], {name: label[2:] for name, label in LABELS.items()}
    training = Between(lambda: model.fit(*last, verbose=0))
    model.fit(IMAGES, LABELS, callbacks=[training], **how)
    assert all(np.isfinite(value).all() for value in model.get_weights())
    model.fit(*last, callbacks=[Between(lambda: model.set_weights(before))], **how)
    for was, value in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, value)


def test_data_that_fails_on_the_way(model):
    def failing(after, last):
        for _ in range(after):
            yield IMAGES, LABELS
        yield IMAGES, last() if callable(last) else last

    def no_disk():
        raise RuntimeError("no disk")

    with pytest.raises(Exception, match="no disk"):  # TensorFlow has a type of its own for it
        model.fit(failing(3, no_disk), verbose=0)
    with pytest.raises(ValueError, match=r"^There are no labels for semseg among depth; [^\n]*$"):
        model.fit(failing(3, {"depth": LABELS["depth"]}), verbose=0)
    with pytest.raises(ValueError, match=r"^There are labels of task 'depth' for 2 im[^\n]*$"):
        model.fit(failing(3, {**LABELS, "depth": LABELS["depth"][:2]}), verbose=0)
    spoilt = itertools.chain(failing(3, LABELS), [(IMAGES * np.nan, LABELS)])
    with pytest.raises(ValueError, match=r"^Images hold NaN or infinite values; [^\n]*$"):
        model.fit(spoilt, verbose=0)
    assert all(np.isfinite(value).all() for value in model.get_weights())
    model.fit(failing(3, LABELS), verbose=0)


def small_numbers(model, images):
    """Every door that takes images, by name."""
    how, batch = {"verbose": 0}, (images, LABELS)
    yield "fit", lambda: model.fit(*batch, epochs=2, validation_data=batch, **how)
    yield "validation", lambda: model.fit(IMAGES, LABELS, validation_data=batch, **how)
    yield "evaluate", lambda: model.evaluate(*batch, **how)
    yield "iterator", lambda: model.fit(iter([batch] * 3), steps_per_epoch=3, **how)
    yield "PyDataset", lambda: model.fit(Batches(batch, batch), epochs=2, **how)
    yield "train_on_batch", lambda: model.train_on_batch(*batch)
    yield "test_on_batch", lambda: model.test_on_batch(*batch)
    yield "predict", lambda: model.predict(images, **how)
    yield "predict an iterator", lambda: model.predict(iter([images] * 3), **how)
    yield "predict_on_batch", lambda: model.predict_on_batch(images)
    yield "predict_maps", lambda: model.predict_maps(list(images))


def test_images_of_0_to_1(model):
    """One warning at each door, in each call."""
    for name, call in small_numbers(model, IMAGES / 255):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        said = [str(each.message) for each in caught if "multiply by 255" in str(each.message)]
        assert len(said) == 1, (name, said)


def test_images_of_16_bits(model):
    for dtype in ("uint16", "int32"):
        wide = (IMAGES.astype("int64") * 257).astype(dtype)
        for call in (model.evaluate, model.fit):
            assert_refused(model, lambda call=call, x=wide: call(x, LABELS, verbose=0), "(x >> 8)")
        assert_refused(model, lambda x=wide: model.predict(x, verbose=0), "(x >> 8)")
    with pytest.warns(UserWarning, match="divide by 257"):
        model.evaluate(IMAGES * 257, LABELS, verbose=0)


def test_an_iterator_is_read_from_its_first_batch(model):
    seen = []

    def batches():
        for i in range(4):
            seen.append(i)
            yield IMAGES, {**LABELS, "more": LABELS["depth"]}

    endless = batches()
    model.fit(endless, steps_per_epoch=4, verbose=0)
    assert seen == [0, 1, 2, 3]


@pytest.mark.once("torch", "a process of JAX's or TensorFlow's must not be copied")
def test_a_late_batch_from_another_process(model):
    batches = ((LATE[[i]], {n: x[[i]] for n, x in LABELS.items()}) for i in range(3))
    late = Batches(*batches, workers=1, use_multiprocessing=True)
    assert_refused(model, lambda: model.evaluate(late, verbose=0), "NaN or infinite")


def test_several_threads_predict(model):
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (20 + i % 3, 30, 3), "uint8") for i in range(5)]
    alone = [model.predict_maps(photograph) for photograph in photographs]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(model.predict_maps, photographs * 8))
    for found, wanted in zip(together, alone * 8, strict=True):
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values)


def test_losses_add_up(model):
    """The last batch is smaller."""
    scores = model.evaluate(IMAGES, LABELS, batch_size=2, verbose=0, return_dict=True)
    total = sum(task.loss_weight * scores[f"{task.name}_loss"] for task in model.tasks)
    assert scores["loss"] == pytest.approx(total, rel=1e-5)


def test_callbacks_know_what_is_better(model):
    for monitor, mode in (("semseg_mIoU", "max"), ("val_depth_RMSE", "min"), ("loss", "min")):
        callback = keras.callbacks.EarlyStopping(monitor)
        model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0, callbacks=[callback])
        assert callback.mode == mode and np.isfinite(callback.best)


@pytest.mark.parametrize("name", ["val_depth", "loss", "depth_loss", "learning_rate"])
def test_names_of_the_logs(name):
    with pytest.raises(ValueError, match="logs of fit"):
        keras_mtl.tasks.task.check_tasks([keras_mtl.tasks.DepthEstimation(name)])
