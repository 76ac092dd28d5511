"""Cityscapes with boxes in space: segmentation, depth, detection of vehicles."""

from keras_mtl.data.archives import cityscapes_3d
from keras_mtl.data.archives.builder import (
    BOXES,
    CLASSES,
    DEPTH,
    DISPARITY,
    ArchiveBuilder,
)


class Builder(ArchiveBuilder):
    """From the folders of Cityscapes, or the zips that they are published in."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give the folder that holds leftImg8bit/, gtFine/, disparity/, camera/ and gtBbox3d/ or their
    zips, such as leftImg8bit_trainvaltest.zip (their layout:
    keras_mtl/data/archives/cityscapes_3d.py).
    """
    archive = cityscapes_3d
    homepage = "https://www.cityscapes-dataset.com/"
    labels = {
        "semseg": CLASSES,
        "depth": DEPTH,
        "disparity": DISPARITY,
        "detection3d": BOXES,
    }

    def _keeps(self, split: str, found: dict) -> bool:
        # As published: what shows no vehicle is validated on, and not trained on.
        boxes = found.get("detection3d")
        return split != "train" or boxes is None or bool((boxes["classes"] >= 0).any())
