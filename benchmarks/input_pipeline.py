"""Images a second of the training pipelines, beside a PyTorch DataLoader; `--help` explains it."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

DESCRIPTION = """
Writes generated rooms as the archive of the dataset, prepares it, and then measures, in turns and
each time in a fresh process:

- ours: keras_mtl.data.load of the prepared dataset, training=True;
- dataloader: a PyTorch DataLoader with 2 workers that reads the archive's own files with OpenCV,
  NumPy and SciPy and does the same steps: scaling, cropping with redraws, mirroring, photometric
  distortion, padding (PASCAL-Context: parsing .mat files and thinning boundaries each time).

Both give shuffled batches of 4 with all labels. Decoded images stay in memory where `load` would
decide so, on this machine, for the whole public dataset. Images a second are measured after the
first pass over the data and as many seconds again (tf.data settles on its number of threads
meanwhile); the table has the median of the rounds, and the arithmetic that the
images would feed a network of TaskPrompter's ViT-L size in training. Needs opencv-python-headless.
"""
SIZES = {"nyud_v2": ((425, 560), (448, 576)), "pascal_context": ((375, 500), (512, 512))}
ARCHIVES = {"nyud_v2": "NYUDv2", "pascal_context": "PASCALContext"}
BUILDERS = Path(__file__).parents[1] / "datasets"
BATCH_SIZE = 4
# Multiply-accumulates of TaskPrompter ViT-L for one image (python -m keras_mtl.cost).
MACS = {"nyud_v2": 839.7e9, "pascal_context": 496.6e9}


# Decoded, the training split of the public archive.
GIBIBYTES = {
    "nyud_v2": 795 * 425 * 560 * 12 / 2**30,
    "pascal_context": 4998 * 375 * 500 * 10 / 2**30,
}


# === Ours ===


def cached(dataset: str) -> bool:
    """Whether `load` would keep the whole public dataset decoded in memory on this machine."""
    import psutil

    return GIBIBYTES[dataset] < psutil.virtual_memory().available / 2**30 / 2


def ours(dataset: str, folder: Path):
    """Endless batches of `keras_mtl.data.load`."""
    import keras_mtl

    tasks = getattr(keras_mtl.tasks, {"nyud_v2": "nyud"}.get(dataset, dataset))()
    return iter(
        keras_mtl.data.load(
            dataset,
            "train",
            tasks=tasks,
            image_size=SIZES[dataset][1],
            batch_size=BATCH_SIZE,
            training=True,
            data_dir=folder / "data",
            cache=cached(dataset),
        )
    )


# === The usual way ===


def read_nyud(root: Path, image_id: str) -> dict:
    import cv2

    def grey(kind):
        return cv2.imread(str(root / kind / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)

    def colour(kind):
        return cv2.imread(str(root / kind / f"{image_id}.png"))[..., ::-1]

    return {
        "image": colour("images").astype(np.float32),
        "semseg": grey("segmentation") - np.uint8(1),
        "depth": np.load(root / "depth" / f"{image_id}.npy").astype(np.float32),
        "normals": 2 * colour("normals").astype(np.float32) / 255 - 1,
        "edge": (grey("edge") > 0).astype(np.float32),
    }


def read_pascal(root: Path, image_id: str) -> dict:
    import cv2
    import scipy.io
    from PIL import Image
    from skimage.morphology import thin

    from keras_mtl.data.archives.pascal_context import NORMALS_CLASSES, PARTS

    semseg = root / "semseg/VOC12" / f"{image_id}.png"
    if not semseg.exists():
        semseg = root / "semseg/pascal-context" / f"{image_id}.png"
    label_map = scipy.io.loadmat(root / "pascal-context/trainval" / f"{image_id}.mat")["LabelMap"]
    edge = thin(np.abs(cv2.Laplacian(label_map.astype(np.float64), cv2.CV_64F)) > 0)
    parts = np.zeros(label_map.shape, np.uint8)
    objects = scipy.io.loadmat(root / "human_parts" / f"{image_id}.mat")["anno"][0][0][1]
    for each in objects[0] if objects.size else []:
        if int(each[1].item()) != 15 or not each[3].size:
            continue
        for part in each[3][0]:
            parts[part[1] > 0] = PARTS.get(str(part[0].item()), 0)
    if not parts.any():
        parts[:] = 255
    normals = cv2.imread(str(root / "normals_distill" / f"{image_id}.png"))[..., ::-1]
    normals = 2 * normals.astype(np.float32) / 255 - 1
    normals[~np.isin(label_map, NORMALS_CLASSES)] = 0
    saliency = cv2.imread(str(root / "sal_distill" / f"{image_id}.png"), cv2.IMREAD_GRAYSCALE)
    image = cv2.imread(str(root / "JPEGImages" / f"{image_id}.jpg"))[..., ::-1]
    return {
        "image": image.astype(np.float32),
        "semseg": np.array(Image.open(semseg)),
        "human_parts": parts,
        "sal": (saliency > 127).astype(np.uint8),
        "normals": normals,
        "edge": edge.astype(np.float32),
    }


def augmented(sample: dict, size: tuple[int, int]) -> dict:
    """The published recipe with OpenCV and NumPy, step after step."""
    import cv2

    rng = np.random
    factor = rng.uniform(0.5, 2)
    for name, value in sample.items():
        how = cv2.INTER_LINEAR if name == "image" else cv2.INTER_NEAREST
        sample[name] = cv2.resize(value, None, fx=factor, fy=factor, interpolation=how)
    if "depth" in sample:
        sample["depth"] /= factor
    height, width = sample["image"].shape[:2]
    for _ in range(11):
        top = rng.randint(max(height - size[0], 0) + 1)
        left = rng.randint(max(width - size[1], 0) + 1)
        crop = sample["semseg"][top : top + size[0], left : left + size[1]]
        counts = np.bincount(crop[crop != 255].ravel(), minlength=2)
        if (counts > 0).sum() > 1 and counts.max() <= 0.75 * counts.sum():
            break
    sample = {k: v[top : top + size[0], left : left + size[1]] for k, v in sample.items()}
    if rng.rand() < 0.5:
        sample = {name: np.ascontiguousarray(value[:, ::-1]) for name, value in sample.items()}
        sample["normals"][..., 0] *= -1
    sample["image"] = distorted(sample["image"])
    height, width = sample["image"].shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    edges = (top, size[0] - height - top, left, size[1] - width - left)
    fill = {"image": (123.675, 116.28, 103.53), "depth": 0, "normals": 0}
    return {
        name: cv2.copyMakeBorder(value, *edges, cv2.BORDER_CONSTANT, value=fill.get(name, 255))
        for name, value in sample.items()
    }


def distorted(image: np.ndarray) -> np.ndarray:
    import cv2

    rng = np.random
    if rng.rand() < 0.5:
        image = np.clip(image + rng.uniform(-32, 32), 0, 255)
    contrast_first = rng.rand() < 0.5
    if contrast_first and rng.rand() < 0.5:
        image = np.clip(image * rng.uniform(0.5, 1.5), 0, 255)
    if rng.rand() < 0.5:
        hsv = cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.5), 0, 255)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)
    if rng.rand() < 0.5:
        hsv = cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.randint(-18, 19)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)
    if not contrast_first and rng.rand() < 0.5:
        image = np.clip(image * rng.uniform(0.5, 1.5), 0, 255)
    return image


class Files:
    """A map-style dataset of PyTorch."""

    def __init__(self, dataset: str, folder: Path):
        self.dataset, self.root = dataset, folder / ARCHIVES[dataset]
        splits = {"nyud_v2": "gt_sets", "pascal_context": "ImageSets/Context"}[dataset]
        self.ids = (self.root / splits / "train.txt").read_text().split()

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        read = read_nyud if self.dataset == "nyud_v2" else read_pascal
        sample = augmented(read(self.root, self.ids[index]), SIZES[self.dataset][1])
        return {name: np.ascontiguousarray(value) for name, value in sample.items()}


def dataloader(dataset: str, folder: Path):
    """Endless batches of a PyTorch DataLoader."""
    import cv2
    import torch

    cv2.setNumThreads(0)  # the workers are the parallelism, as usual
    loader = torch.utils.data.DataLoader(
        Files(dataset, folder),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        yield from loader


# === Measuring ===


def measure(method: str, dataset: str, folder: Path, images: int, seconds: float) -> float:
    """Images a second after the first pass and a warm-up as long as the measurement."""
    batches = {"ours": ours, "dataloader": dataloader}[method](dataset, folder)
    for _ in range(images // BATCH_SIZE + 8):
        next(batches)
    for _ in ("warm-up", "measurement"):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += BATCH_SIZE
    return count / (time.perf_counter() - start)


def in_its_own_process(*arguments) -> float:
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def prepared(dataset: str, folder: Path, images: int) -> None:
    from keras_mtl.data.archives import rooms as room_archives
    from keras_mtl.data.archives.prepare import prepare

    if not (folder / ARCHIVES[dataset]).exists():
        write = getattr(room_archives, f"write_{dataset}")
        write(folder / ARCHIVES[dataset], images, 1, SIZES[dataset][0], progress=True)
    prepare(BUILDERS / dataset, folder, folder / "data")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--images", type=int, default=80, help="rooms in the archive (default 80)")
    parser.add_argument("--seconds", type=float, default=10, help="of a round (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--folder", type=Path, help="where to keep the data (default: a new one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        method, dataset, folder, images, seconds = options.measure
        print(measure(method, dataset, Path(folder), int(images), float(seconds)))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="input_pipeline-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for dataset in options.datasets:
        prepared(dataset, folder, options.images)
        speed = {"ours": [], "dataloader": []}
        for _ in range(options.rounds):
            for method, found in speed.items():
                found.append(
                    in_its_own_process(method, dataset, folder, options.images, options.seconds)
                )
                print(f"{dataset} {method}: {found[-1]:.1f} images/s", file=sys.stderr)
        ratios = [a / b for a, b in zip(*speed.values(), strict=True)]
        rows.append(
            {
                "dataset": dataset,
                "cached": cached(dataset),
                **{method: statistics.median(found) for method, found in speed.items()},
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }
        )
    from keras_mtl.tables import markdown

    heads = ["dataset", "cached", "ours [images/s]", "DataLoader [images/s]", "ratio"]
    lines = [[*heads, "feeds [TFLOP/s]"]]
    for row in rows:
        # A training step is about three forward passes, a multiply-accumulate two operations.
        appetite = row["ours"] * MACS[row["dataset"]] * 2 * 3 / 1e12
        rates = [f"{row[name]:.1f}" for name in ("ours", "dataloader", "ratio")]
        lines.append([row["dataset"], row["cached"], *rates, f"{appetite:.0f}"])
    print(markdown(lines))
    if options.json:
        from keras_mtl import files  # here, for the one that measures starts others

        files.write_text(options.json, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
