#!/usr/bin/env bash
# torchmetrics 1.9.0 (PyTorch 2.13.0, CPU): segmentation.MeanIoU is not the mIoU of the data set.
#
# Guess: `update` adds up a confusion matrix, and `compute` gives the intersection over union of all pixels seen,
# as the benchmarks of segmentation define it and as `classification.MulticlassJaccardIndex` gives it.
# Seen: the IoU of each class is taken of each image and averaged over the images that have the class: 0.79 here,
# where the data set's is 0.69. A wrong pixel of an image that has little of a class weighs as much as hundreds of
# another image. The documentation defines the metric as the overlap divided by the union, and says nothing of
# images. With `per_class=True`, classes that no image has are -1 and must not be averaged.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torchmetrics==1.9.0 numpy==2.4.6
cat > "$folder/iou.py" <<'PY'
import torch
import torchmetrics
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

classes = 4  # class 3 is in no image
truth = torch.zeros(3, 10, 10, dtype=torch.int64)
truth[0, :5] = 1  # half of the image
truth[1, 0, 0] = 1  # one pixel
truth[2, :, :2] = 2
found = truth.clone()
found[0, :4] = 0  # most of class 1 is missed in the first image, and nothing in the second

print(f"torchmetrics {torchmetrics.__version__}")
matrix = torch.bincount((truth * classes + found).flatten(), minlength=classes**2).view(classes, classes)
union = matrix.sum(0) + matrix.sum(1) - matrix.diag()
data_set = (matrix.diag() / union)[union > 0].mean().item()

results = {}
for name, metric in (
    ("MulticlassJaccardIndex", MulticlassJaccardIndex(classes)),
    ("MeanIoU", MeanIoU(classes, input_format="index")),
):
    for k in range(3):
        metric.update(found[k : k + 1], truth[k : k + 1])
    results[name] = metric.compute().item()
print(f"  mIoU of the confusion matrix: {data_set:.4f}; {results}")
each = MeanIoU(classes, input_format="index", per_class=True)
each.update(found, truth)
print(f"  MeanIoU by class: {[round(x, 4) for x in each.compute().tolist()]}")
same = abs(results["MulticlassJaccardIndex"] - data_set) < 1e-6
raise SystemExit(not (same and abs(results["MeanIoU"] - data_set) > 0.05))
PY
"$folder/venv/bin/python" "$folder/iou.py"
echo "As stated: MeanIoU averages over images."
