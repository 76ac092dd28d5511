"""What all architectures share: prediction on any photograph, files, errors and export."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation, nyud
from tests import small

SIZE = (32, 48)
BACKEND = keras.backend.backend()


def assert_one_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 350, text
    assert all(part in text for part in parts), text


@keras.saving.register_keras_serializable(package="tests")
class SeesColours(keras_mtl.MultiTaskModel):
    """Depth is the mean of red, green and blue in hundredths; the class is the strongest one."""

    def __init__(self, image_size=SIZE, **kwargs):
        image = keras.Input((*image_size, 3))
        mean = keras.layers.Conv2D(
            1, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(1 / 300)
        )
        tasks = [DepthEstimation(), SemanticSegmentation(channels=3)]
        super().__init__(image, {"depth": mean(image), "semseg": image}, tasks, **kwargs)
        self._size = image_size

    def get_config(self):
        return {"image_size": self._size, "name": self.name}


def task_prompter(decode_dim=4, **arguments):
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (*SIZE, 3), num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    return keras_mtl.TaskPrompter(
        backbone,
        nyud(),
        channel_windows=(2, 3),
        prompting_levels=1,
        decode_dim=decode_dim,
        **arguments,
    )


@pytest.fixture(scope="module")
def colours():
    model = SeesColours()
    model.compile()
    return model


@pytest.fixture(scope="module")
def model():
    return task_prompter()


# === Photographs of any size ===


def ramp(height, width):
    """A photograph that brightens to the right, faster than downwards."""
    y = (np.arange(height) + 0.5)[:, None] / height
    x = (np.arange(width) + 0.5)[None] / width
    return np.repeat((20 + 60 * y + 160 * x)[..., None], 3, axis=-1).astype("float32")


@pytest.mark.parametrize(
    "size",
    [(32, 48), (64, 96), (37, 101), (400, 20), (8, 9), (1, 1), (1, 300)],
    ids=str,
)
def test_maps_have_the_size_of_the_photograph(colours, size):
    # A constant colour must come back unmixed with the colour of the padding.
    maps = colours.predict_maps(np.full((*size, 3), (250, 40, 10), "uint8"))
    assert set(maps) == {"depth", "semseg"}
    assert maps["depth"].shape == (*size, 1) and maps["depth"].dtype == "float32"
    assert maps["semseg"].shape == size and maps["semseg"].dtype == "int32"
    np.testing.assert_allclose(maps["depth"], 1.0, rtol=1e-4)
    assert (maps["semseg"] == 0).all()


def test_a_photograph_of_the_models_size_is_left_as_it_is(colours):
    photograph = np.random.default_rng(0).uniform(0, 255, (*SIZE, 3)).astype("float32")
    maps = colours.predict_maps(photograph)
    np.testing.assert_allclose(maps["depth"][..., 0], photograph.mean(-1) / 100, rtol=1e-5)
    np.testing.assert_array_equal(maps["semseg"], photograph.argmax(-1))


@pytest.mark.parametrize("size", [(64, 96), (37, 101), (150, 40), (20, 24)], ids=str)
def test_maps_lie_where_the_photograph_does(colours, size):
    photograph = ramp(*size)
    depth = colours.predict_maps(photograph)["depth"][..., 0]
    # Resizing keeps a ramp, but for the pixels within two of the model's from the border.
    scale = max(size[0] / SIZE[0], size[1] / SIZE[1], 1)
    border = int(np.ceil(2 * scale))
    inside = (slice(border, -border), slice(border, -border))
    wanted = photograph[..., 0] / 100
    assert depth[inside].size
    np.testing.assert_allclose(depth[inside], wanted[inside], atol=2e-3)
    assert np.abs(depth - wanted).max() < 0.2


def test_classes_meet_where_the_colours_do(colours):
    photograph = np.zeros((40, 120, 3), "uint8")
    photograph[:, :75, 0], photograph[:, 75:, 2] = 200, 200
    photograph[30:] = (0, 200, 0)
    classes = colours.predict_maps(photograph)["semseg"]
    wanted = photograph.argmax(-1)
    near = 3  # the photograph has 2.5 times the model's resolution
    assert (classes[: 30 - near, : 75 - near] == wanted[: 30 - near, : 75 - near]).all()
    assert (classes[: 30 - near, 75 + near :] == wanted[: 30 - near, 75 + near :]).all()
    assert (classes[30 + near :] == 1).all()


def test_many_photographs_of_many_sizes(colours):
    photographs = [ramp(37, 101), ramp(32, 48).astype("uint8"), ramp(90, 20), ramp(37, 101)]
    together = colours.predict_maps(photographs, batch_size=3)
    assert isinstance(together, list) and len(together) == 4
    for photograph, maps in zip(photographs, together, strict=True):
        assert maps["depth"].shape == (*photograph.shape[:2], 1)
        for name, alone in colours.predict_maps(photograph).items():
            np.testing.assert_allclose(maps[name], alone, atol=1e-5)
    batch = colours.predict_maps(np.stack([ramp(*SIZE)] * 2))
    assert isinstance(batch, list) and len(batch) == 2
    assert colours.predict_maps([]) == []


@pytest.mark.parametrize("shape", [(37, 20, 2), (0, 20, 3)], ids=str)
def test_what_is_no_rgb_photograph(colours, shape):
    photograph = np.zeros(shape, "uint8")
    with pytest.raises(ValueError) as error:
        colours.predict_maps(photograph)
    assert_one_sentence(error, str(shape), "(height, width, 3)")
    with pytest.raises(ValueError) as error:
        colours.predict_maps([ramp(10, 10), photograph])
    assert_one_sentence(error, str(shape), "(height, width, 3)")


@pytest.mark.parametrize("given", [{"image": ramp(10, 10)}, b"photo.jpg"], ids=["dict", "bytes"])
def test_what_is_no_photograph_at_all(colours, given):
    with pytest.raises(ValueError, match=f"A photograph is a {type(given).__name__}; expected an"):
        colours.predict_maps(given)


def test_diverged_weights(tmp_path):
    model = task_prompter()
    with pytest.raises(ValueError, match="^Weight 0, of .* holds NaN"):
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(ValueError, match="not finite on photograph 0; use weights from before"):
        model.predict_maps(ramp(10, 10))
    file = tmp_path / "kept.weights.h5"
    file.write_bytes(b"of before")
    for save, name in ((model.save_weights, file), (model.save, tmp_path / "new.keras")):
        with pytest.raises(ValueError, match="^[^ ]* of this model holds NaN"):
            save(name)
    assert file.read_bytes() == b"of before" and list(tmp_path.iterdir()) == [file]


# === Files ===


def test_a_failed_save_leaves_the_earlier_file(colours, tmp_path, monkeypatch):
    file = tmp_path / "model.keras"
    colours.save(file)
    before = file.read_bytes()

    def fail(self, filepath, **kwargs):
        Path(filepath).write_bytes(b"half a model")
        raise OSError("no space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        colours.save(file)
    with pytest.raises(OSError, match="no space left"):
        colours.save(tmp_path / "another.keras")
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def test_save(colours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours.save("model.keras")
    colours.save("model.keras")  # replaces it
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert type(keras_mtl.load_model("model.keras")) is SeesColours
    with pytest.raises(ValueError) as error:
        colours.save("model.keras", overwrite=False)
    assert_one_sentence(error, "model.keras", "overwrite=True")
    for save, name in ((colours.save, "model.zip"), (colours.save_weights, "weights.keras")):
        with pytest.raises(ValueError) as error:
            save(name)
        assert_one_sentence(error, f"The path is {name}; expected a name that ends in .")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_load_weights(model, tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(file)
    other = task_prompter()
    other.load_weights(file)
    for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def broken(path, model):
    path.write_bytes(b"these are no weights")


def truncated(path, model):
    model.save(path)
    path.write_bytes(path.read_bytes()[:-5000])


def wider(path, model):
    task_prompter(decode_dim=6).save(path)


def without_reweighting(path, model):
    task_prompter(cross_task_reweighting=False).save(path)


def with_reweighting_only(path, model):
    """The file has layers that the model below lacks."""
    model.save(path)


def of_another_kind(path, model):
    SeesColours().save(path)


@pytest.mark.parametrize(
    "write",
    [broken, truncated, wider, without_reweighting, with_reweighting_only, of_another_kind],
    ids=lambda write: write.__name__,
)
def test_weights_that_do_not_fit(model, tmp_path, write):
    file = tmp_path / "file.keras"
    write(file, model)
    arguments = {"cross_task_reweighting": False} if write is with_reweighting_only else {}
    target = task_prompter(**arguments)
    before = target.get_weights()
    with pytest.raises(ValueError) as error:
        target.load_weights(file)
    assert_one_sentence(error, "file.keras", "TaskPrompter", "semseg, depth, normals, edge")
    for a, b in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_load_model_refuses(model, tmp_path):
    def refused(path, *parts):
        with pytest.raises(ValueError) as error:
            keras_mtl.load_model(path)
        assert_one_sentence(error, path.name, *parts)

    refused(tmp_path / "missing.keras", "no file")
    text = tmp_path / "text.keras"
    text.write_text("not a model")
    refused(text, "broken, not one")
    half = tmp_path / "half.keras"
    truncated(half, model)
    refused(half, "broken, not one")
    ours_not = tmp_path / "plain.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(ours_not)
    refused(ours_not, "Sequential", "TaskPrompter")
    refused(tmp_path, "is a folder", "from_preset")


def test_a_model_with_a_class_that_is_not_registered(tmp_path):
    class Heat(DepthEstimation):
        pass

    model = keras_mtl.MultiTaskBaseline(small.vit((32, 48)), [Heat("heat")], head_width=4)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for load in (
        lambda: keras_mtl.load_model(tmp_path / "model.keras"),
        lambda: keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset"),
    ):
        with pytest.raises(ValueError, match=r"Could not locate class 'Heat'\): .* register those"):
            load()


# === Presets ===


def test_unknown_presets():
    with pytest.raises(ValueError) as error:
        keras_mtl.TaskPrompter.from_preset("taskprompter_vit_giant")
    assert_one_sentence(error, "'taskprompter_vit_giant'", "taskprompter_vit_large_nyud")
    with pytest.raises(ValueError) as error:
        SeesColours.from_preset("taskprompter_vit_large_nyud")  # another architecture's
    assert_one_sentence(error, "SeesColours", "'taskprompter_vit_large_nyud'")


def test_folders_that_are_no_trained_model(model, tmp_path):
    def refused(load, *parts):
        with pytest.raises(ValueError) as error:
            load()
        assert_one_sentence(error, *parts)

    folder = tmp_path / "mine"
    model.save_to_preset(folder)
    refused(lambda: model.save_to_preset(folder), "mine exists")
    refused(lambda: keras_mtl.TPANet.from_preset(folder), "TaskPrompter", "not a TPANet")
    change = {"tasks": nyud("depth"), "decode_dim": 3}
    refused(lambda: keras_mtl.TaskPrompter.from_preset(folder, **change), "decode_dim cannot")
    config = (folder / "config.json").read_text()
    other = tmp_path / "other"
    for name, text, problem in (
        ("config.json", config[: len(config) // 2], "broken, not one"),
        ("config.json", "{}", "not a model of keras_mtl"),
        ("metadata.json", '{"format": "another"}', "broken, not one"),
    ):
        shutil.copytree(folder, other)
        (other / name).write_text(text)
        refused(lambda: keras_mtl.MultiTaskModel.from_preset(other), "other", problem)
        shutil.rmtree(other)
    (folder / "model.weights.h5").write_bytes(b"cut short")
    refused(lambda: keras_mtl.MultiTaskModel.from_preset(folder), "model.weights.h5 does not hold")
    (folder / "model.weights.h5").unlink()
    refused(lambda: keras_mtl.MultiTaskModel.from_preset(folder), "has no model.weights.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_preset_on_another_backbone():
    backbone = keras_mtl.backbones.HRNet((32, 48, 3), 4, 1, (1, 1, 1), 1)
    model = keras_mtl.MultiTaskModel.from_preset(
        "multitask_baseline_hrnet18_nyud", tasks=nyud("depth"), backbone=backbone
    )
    assert model.backbone_layers == [backbone] and model.image_size == (32, 48)
    for how, parts in (
        ({"image_size": (64, 64)}, ["Both image_size and backbone"]),
        ({"tasks": []}, ["tasks is []"]),
        ({"dtype": "mixed_bfloat16"}, ["dtype is 'mixed_bfloat16'", "set_dtype_policy"]),
    ):
        with pytest.raises(ValueError) as error:
            keras_mtl.MultiTaskModel.from_preset(
                "multitask_baseline_hrnet18_nyud", **{"tasks": nyud(), "backbone": backbone, **how}
            )
        assert_one_sentence(error, *parts)


def test_what_is_new_in_a_pyramid_is_not_of_the_backbone():
    """No published file fills it, so it is neither frozen nor trained slowly."""
    swin = keras_mtl.backbones.swin_transformer(
        "tiny", (32, 32, 3), embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
    )
    vit = keras_mtl.backbones.vision_transformer(
        "tiny", (32, 32, 3), num_layers=1, num_heads=1, hidden_dim=16, mlp_dim=16
    )
    for backbone, new in ((swin, "norm_stride_"), (vit, "/stride_")):
        model = keras_mtl.TPANet(backbone, nyud("depth"), dim=8, groups=2, head_width=4)
        model.freeze_backbone()
        of_backbone = {variable.path for variable in model.backbone_variables}
        assert of_backbone and not any(new in path for path in of_backbone)
        trained = {variable.path for variable in model.trainable_variables}
        assert any(new in path for path in trained) and not trained & of_backbone


def test_every_preset_can_be_named():
    for name, preset in keras_mtl.presets.PRESETS.items():
        architecture = keras_mtl.models.registry.ARCHITECTURES[preset["model"]]
        assert issubclass(architecture, keras_mtl.MultiTaskModel)
        assert keras_mtl.MultiTaskModel.preset_tasks(name)
        assert len(preset["image_size"]) == 2


# === Data that does not fit ===


def good_data(count=2, size=SIZE):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, *size, 3)).astype("float32"), {
        "depth": rng.uniform(1, 9, (count, *size, 1)).astype("float32"),
        "semseg": rng.integers(0, 3, (count, *size)).astype("int32"),
    }


def small_images():
    images, labels = good_data()
    return images[:, :16], labels


def grey_images():
    images, labels = good_data()
    return images[..., :1], labels


def one_image():
    images, labels = good_data()
    return images[0], labels


def small_labels():
    images, labels = good_data()
    return images, {**labels, "depth": labels["depth"][:, :16]}


def labels_without_axis():
    images, labels = good_data()
    return images, {**labels, "depth": labels["depth"][..., 0]}


def labels_missing():
    images, labels = good_data()
    return images, {"depth": labels["depth"], "heat": labels["depth"]}


def no_labels():
    return good_data()[0], None


def labels_not_by_name():
    images, labels = good_data()
    return images, labels["depth"]


MISFITS = [
    (small_images, ["Images", "(2, 16, 48, 3)", "(batch, 32, 48, 3)"]),
    (grey_images, ["Images", "(2, 32, 48, 1)", "(batch, 32, 48, 3)"]),
    (one_image, ["Images", "(32, 48, 3)", "(batch, 32, 48, 3)"]),
    (small_labels, ["'depth'", "(2, 16, 48, 1)", "(batch, 32, 48, 1)"]),
    (labels_without_axis, ["'depth'", "(2, 32, 48)", "(batch, 32, 48, 1)"]),
    (labels_missing, ["semseg", "depth, heat", "no_label"]),
    (no_labels, ["depth, semseg"]),
    (labels_not_by_name, ["depth, semseg"]),
]


@pytest.mark.parametrize(("data", "parts"), MISFITS, ids=lambda x: getattr(x, "__name__", ""))
def test_data_that_does_not_fit(colours, data, parts):
    images, labels = data()
    how = {"batch_size": 2, "verbose": 0}
    for call in (
        lambda: colours.fit(images, labels, **how),
        lambda: colours.evaluate(images, labels, **how),
        lambda: colours.fit(*good_data(), validation_data=(images, labels), **how),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert_one_sentence(error, *parts)


@pytest.mark.parametrize(
    ("data", "parts"),
    [misfit for misfit in MISFITS if misfit[0] is not one_image],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_dataset_that_does_not_fit(colours, data, parts):
    tf = pytest.importorskip("tensorflow")
    images, labels = data()
    dataset = tf.data.Dataset.from_tensor_slices(images if labels is None else (images, labels))
    dataset = dataset.batch(2)
    good = tf.data.Dataset.from_tensor_slices(good_data()).batch(2)
    parts = [part.replace("(2,", "(None,") for part in parts]
    for call in (
        lambda: colours.fit(dataset, verbose=0),
        lambda: colours.evaluate(dataset, verbose=0),
        lambda: colours.fit(good, validation_data=dataset, verbose=0),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert_one_sentence(error, *parts)


@pytest.mark.parametrize(("name", "value"), [("depth", -1.0), ("depth", np.nan), ("semseg", 3)])
def test_values_that_are_no_labels(colours, name, value):
    images, labels = good_data()
    labels[name][1, 3, 4] = value
    with pytest.raises(ValueError) as error:
        colours.fit(images, labels, verbose=0)
    assert_one_sentence(error, repr(name), str(value))


def test_a_dataset_in_python(colours):
    """It is shuffled as Keras does, and its labels must be this model's."""
    images, labels = good_data(8)

    class Batches(keras.utils.PyDataset):
        def __init__(self, more=()):
            super().__init__()
            self.more, self.order = more, []

        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            self.order.append(i)
            more = {name: images[i : i + 1] for name in self.more}
            return images[i : i + 1], {**{n: x[i : i + 1] for n, x in labels.items()}, **more}

    keras.utils.set_random_seed(0)
    batches = Batches()
    colours.fit(batches, verbose=0)
    read = batches.order[1:]  # the first to be checked
    assert sorted(set(read)) == list(range(8)) and read != sorted(read)
    with pytest.raises(ValueError) as error:
        colours.fit(Batches(["heat"]), verbose=0)
    assert_one_sentence(error, "labels of heat", "leave them out")


def test_elements_that_are_dicts(colours):
    tf = pytest.importorskip("tensorflow")
    images, labels = good_data()
    dataset = tf.data.Dataset.from_tensor_slices({"image": images, **labels}).batch(2)
    with pytest.raises(ValueError) as error:
        colours.fit(dataset, verbose=0)
    assert_one_sentence(error, "no (images, labels)", "with map")
    colours.fit(dataset.map(lambda x: (x.pop("image"), x)), verbose=0)


def test_a_dataset_without_end(colours):
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices(good_data()).batch(2)
    endless = dataset.repeat()
    for call, steps in (
        (lambda: colours.fit(endless, verbose=0), "steps_per_epoch"),
        (lambda: colours.fit(dataset, validation_data=endless, verbose=0), "validation_steps"),
        (lambda: colours.evaluate(endless, verbose=0), "steps"),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert_one_sentence(error, "never ends", f"pass {steps},")
    colours.fit(endless, steps_per_epoch=1, validation_data=endless, validation_steps=1, verbose=0)


def test_images_in_another_range(colours):
    images, labels = good_data()
    with pytest.warns(UserWarning, match="largest value is 1; models take RGB in 0..255"):
        colours.evaluate(images / images.max(), labels, verbose=0)


def test_names_in_the_logs_of_one_task():
    """The same as where there are several."""
    model = keras_mtl.MultiTaskBaseline(small.vit((32, 48)), nyud("depth"), head_width=4)
    model.compile()
    images, labels = good_data()
    data = (images, {"depth": labels["depth"]})
    logs = model.fit(*data, validation_data=data, verbose=0).history
    names = {"loss", "depth_loss", "depth_RMSE"}
    assert set(logs) == names | {f"val_{name}" for name in names}


def test_compile_with_arguments_of_ones_own():
    model = SeesColours()
    model.compile("sgd", loss_weights={"depth": 2.0, "semseg": 0.0}, metrics=None)
    scores = model.evaluate(*good_data(), verbose=0, return_dict=True)
    assert set(scores) == {"loss", "depth_loss", "semseg_loss"}
    assert scores["loss"] == pytest.approx(2 * scores["depth_loss"], rel=1e-5)


def test_compile_auto():
    model = SeesColours()
    model.compile()
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert float(ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(2e-5)
    assert optimizer.weight_decay == 1e-6 and optimizer.global_clipnorm == 10


# === Export ===


def test_export(model, tmp_path):
    pytest.importorskip("tensorflow")
    images = rooms.arrays(nyud(), 3, SIZE)[0].astype("float32")
    expected = {key: ops.convert_to_numpy(x) for key, x in model(images, training=False).items()}
    folder = tmp_path / "saved_model"
    if BACKEND != "tensorflow":
        with pytest.raises(ValueError) as error:
            model.export(folder)
        name = {"jax": "JAX", "torch": "PyTorch"}[BACKEND]
        assert_one_sentence(error, name, f"export_model(model, '{folder}')")
        assert not folder.exists()
        return
    import tensorflow as tf

    model.export(folder)
    loaded = tf.saved_model.load(folder)
    found = {f"{n}_{k}": v for n in (1, 3) for k, v in loaded.serve(images[:n]).items()}
    for name, wanted in expected.items():
        for count in (1, 3):
            value = np.asarray(found[f"{count}_{name}"])
            assert value.shape == wanted[:count].shape
            error = np.abs(value - wanted[:count]).max()
            assert error < 1e-5 * max(1, np.abs(wanted).max()), name
