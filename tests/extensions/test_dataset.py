"""A dataset of one's own: two new tasks, class names, colours, and a published row."""

import numpy as np
import pytest

import keras_mtl
from keras_mtl import visualize
from keras_mtl.evaluation import comparison, published_rows
from keras_mtl.evaluation.compare import main
from keras_mtl.tasks import DATASETS, Dataset, DepthEstimation, PublishedRow, SemanticSegmentation
from tests import small

CLASSES, COLOURS = ["road", "car", "sky"], ["404040", "ff0000", "87ceeb"]


def street_tasks():
    return [
        SemanticSegmentation("surface", 3, loss_weight=2.0, labels=CLASSES, palette=COLOURS),
        DepthEstimation("range", valid_range=(0, 300)),
    ]


def row(method, surface, distance, kind="multi-task", delta_m=None):
    scores = {"surface": surface, "range": distance}
    return PublishedRow(method, "ResNet-50", "streets", kind, scores, "Table 1", delta_m)


@pytest.fixture(autouse=True)
def streets(monkeypatch):
    dataset = Dataset(
        name="streets",
        title="Streets",
        make_tasks=street_tasks,
        images=500,
        remarks={"range": "Published RMSE covers the lower half of the image."},
        rows=(row("single", 60.0, 5.0, "single-task"), row("ours", 66.0, 4.5, delta_m=10.0)),
    )
    monkeypatch.setitem(DATASETS, "streets", dataset)
    return dataset


def scored(surface, distance):
    entry = {"images": 500, "unit": "%", "higher_is_better": True}
    return {
        "name": "mine",
        "dataset": {"name": "prepared/streets/1.0.0", "split": "val", "images": 500},
        "tasks": {
            "surface": {**entry, "headline": "mIoU", "scores": {"mIoU": surface}},
            "range": {
                "images": 500,
                "unit": "m",
                "higher_is_better": False,
                "headline": "RMSE",
                "scores": {"RMSE": distance},
            },
        },
    }


def test_its_tasks(streets):
    assert [task.name for task in streets.tasks("range")] == ["range"]
    with pytest.raises(ValueError, match="Unknown task 'heat'; Streets has surface, range."):
        streets.tasks("heat")
    surface, distance = streets.tasks()
    far = np.full((1, 2, 2, 1), 200.0, "float32")
    assert distance.wrong_label(far) is None
    assert float(distance.loss()(far, far - 1)) == pytest.approx(1.0)
    assert float(DepthEstimation().loss()(far, far - 1)) == 0  # beyond what rooms hold
    assert surface.picture(np.array([[1, 255]])).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert type(surface).from_config(surface.get_config()).palette.tolist() == [
        [64, 64, 64],
        [255, 0, 0],
        [135, 206, 235],
    ]
    with pytest.raises(ValueError, match="3 classes but 2 colours"):
        SemanticSegmentation("surface", 3, palette=COLOURS[:2])


def test_pictures_have_its_names_and_colours(streets):
    images = np.zeros((1, 2, 3, 3), "uint8")
    maps = {"surface": np.array([[[0, 1, 2], [2, 2, 255]]]), "range": np.full((1, 2, 3, 1), 90.0)}
    figure = visualize.panel(images, maps, streets.tasks(), legend=True)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*CLASSES, "no label"]


def test_compared_with_its_published_rows():
    single = keras_mtl.evaluation.published_single_task("streets/resnet-50")
    table = comparison([scored(63.0, 4.0)], single)
    text = table.markdown()
    assert "| mine " in text and "ours, ResNet-50" in text
    assert table.rows[0].delta_m == pytest.approx((5 + 20) / 2)
    assert table.rows[-1].delta_m == 10.0
    assert "Published RMSE covers the lower half of the image." in table.notes
    assert [row.method for row in published_rows("streets")] == ["single", "ours"]


def test_commands_know_it(capsys):
    assert main(["--list-published"]) == 0
    assert "streets/resnet-50" in capsys.readouterr().out


def test_it_trains_and_is_evaluated(streets):
    """On pictures that a user holds as arrays."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (4, 32, 48, 3)).astype("float32")
    labels = {
        "surface": rng.integers(0, 3, (4, 32, 48)).astype("int32"),
        "range": rng.uniform(1, 250, (4, 32, 48, 1)).astype("float32"),
    }
    backbone = small.vit((32, 48), 16)
    model = keras_mtl.MultiTaskBaseline(backbone, streets.tasks(), head_width=4)
    model.compile("adam")
    model.fit(images, labels, batch_size=2, verbose=0)
    result = keras_mtl.evaluate(
        model, (images, labels), dataset_name="streets", split="val", progress=False
    )
    assert list(result.tasks["surface"]["classes"]) == CLASSES
    assert "Published figures are of 500 images" in comparison([result]).markdown()
