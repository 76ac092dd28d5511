"""The builder on a few generated images in the archive's layout."""

import keras
import pytest
import tensorflow_datasets as tfds

from cityscapes_3d.cityscapes_3d_dataset_builder import Builder

if keras.backend.backend() != "tensorflow":
    pytest.skip("runs once for all backends: no Keras in it", allow_module_level=True)


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 3, "val": 2}


if __name__ == "__main__":
    tfds.testing.test_main()
