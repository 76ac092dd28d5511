import keras
import pytest

from keras_mtl.computation.declared_network import check_network
from keras_mtl.declared import Refused


def wide():
    return keras.Sequential([keras.Input((40_000,)), keras.layers.Dense(1_000)])  # 160 MB


def test_nothing_is_built_of_what_is_refused():
    with pytest.raises(Refused, match="declares 160 MB for its network and has 0 MB"):
        check_network("a.keras", {}, wide, 1000)
    # No variable still waits for its values: the next scope of Keras would give them some.
    with keras.StatelessScope():
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
    assert layer.kernel.numpy().shape == (3, 2)


def test_what_the_file_explains_and_what_cannot_be_tried():
    check_network("a.keras", {"seed": 2**31, "on": True, "sizes": [40_000]}, wide, 10**7)
    check_network("a.keras", {}, lambda: 1 / 0, 1000)  # whoever builds it is told


def test_a_number_of_layers():
    with pytest.raises(Refused, match="a size of 1,000,000 and has 70,000 bytes of weights"):
        check_network("a.keras", {"layers": [{"blocks": 10**6}]}, wide, 70_000)
