"""Arrays of a file given to variables: all of them, or none."""

import keras
import numpy as np
import pytest

from keras_mtl.backbones.weights.assign import Entry, assign

pytestmark = pytest.mark.once("torch", "what is read from files are NumPy arrays")

RNG = np.random.default_rng(0)
ARRAYS = {
    "proj.weight": RNG.normal(size=(3, 4)).astype("float32"),
    "proj.bias": RNG.normal(size=3).astype("float32"),
    "norm.num_batches_tracked": np.array(7),
}


@pytest.fixture
def dense():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    return layer


def entries_of(dense):
    return [Entry(dense.kernel, "proj.weight", np.transpose), Entry(dense.bias, "proj.bias")]


def values_of(dense):
    return [keras.ops.convert_to_numpy(weight).copy() for weight in dense.weights]


def test_assign(dense):
    assign(entries_of(dense), ARRAYS, "", ignore=[r".*\.num_batches_tracked"])
    kernel, bias = values_of(dense)
    np.testing.assert_array_equal(kernel, ARRAYS["proj.weight"].T)
    np.testing.assert_array_equal(bias, ARRAYS["proj.bias"])


def test_assign_keeps_no_part_of_the_arrays(dense):
    arrays = {"kernel": np.ones((4, 3), "float32"), "bias": np.ones(3, "float32")}
    assign([Entry(dense.kernel, "kernel"), Entry(dense.bias, "bias")], arrays, "")
    for array in arrays.values():
        array[:] = 9
    assert all((value == 1).all() for value in values_of(dense))


def test_several_arrays_in_one_variable(dense):
    arrays = {"left": np.zeros((4, 1)), "right": np.ones((4, 2)), "bias": np.zeros(3)}
    joined = Entry(dense.kernel, ("left", "right"), lambda *parts: np.concatenate(parts, axis=1))
    assign([joined, Entry(dense.bias, "bias")], arrays, "")
    np.testing.assert_array_equal(values_of(dense)[0], [[0, 1, 1]] * 4)


def without(*names):
    return {name: array for name, array in ARRAYS.items() if name not in names}


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        (without("proj.bias"), "it lacks proj.bias"),
        (without("proj.bias", "proj.weight"), "it lacks proj.weight, proj.bias"),
        ({**ARRAYS, "head.bias": np.ones(2)}, "it has head.bias that nobody takes"),
        (
            {**ARRAYS, **{f"head.{i}": np.ones(2) for i in range(9)}},
            "it has head.0, head.1, head.2 and 6 more that nobody takes",
        ),
        (
            {**ARRAYS, "proj.weight": np.ones((4, 3))},
            "proj.weight (4, 3) gives (3, 4) where the model has (4, 3)",
        ),
        *(
            (
                {**ARRAYS, "proj.bias": np.full(3, value)},
                "proj.bias (3,) holds other than finite real numbers that fit float32",
            )
            for value in (np.nan, -np.inf, 1e300, 1j, "1")
        ),
        ({**ARRAYS, "proj.bias": np.ones(5)}, "proj.bias (5,) gives (5,) where the model has (3,)"),
    ],
)
def test_on_any_doubt_nothing_is_assigned(dense, arrays, found):
    before = values_of(dense)
    with pytest.raises(ValueError) as caught:
        assign(entries_of(dense), arrays, "Not this layer: ", ignore=[".*_tracked"])
    assert str(caught.value) == f"Not this layer: {found}."
    for value, old in zip(values_of(dense), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_no_variable_keeps_its_initial_value_unseen(dense):
    with pytest.raises(ValueError, match="nothing is known for .*bias"):
        assign(
            entries_of(dense)[:1],
            without("proj.bias"),
            "",
            ignore=[".*_tracked"],
            variables=dense.weights,
        )
