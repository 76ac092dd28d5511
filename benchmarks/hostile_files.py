"""Memory that small files take which declare much; `--help` explains it."""

import argparse
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import numpy as np
from scipy.io import savemat

import keras_mtl
from keras_mtl.backbones.weights.files import read_weights
from keras_mtl.data.archives.verify import verify
from keras_mtl.metrics.odsf.files import read_label
from keras_mtl.pictures import read_photograph
from keras_mtl.tables import markdown

DESCRIPTION = """
Writes a file of each kind that is read, of at most a few megabytes, that declares gigabytes, has it
read, and prints a Markdown table: what it declares, the most memory that reading took above what
the process had before, and the answer. The last is a picture nearly as large as is read. The exit
status is 1 if one took more than 600 MB or was not refused. Runs on Linux.
"""
ALLOWED = 600  # MB
ZEROS = 2**30  # bytes that a file unpacks to
LARGEST = "m.png"  # that one is read


def npy_header(shape: tuple) -> bytes:
    stream = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def packed(path: Path, name: str, before: bytes = b"") -> None:
    """Adds a member of zeros to a zip file."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(before)
            for _ in range(ZEROS // 2**20):
                member.write(bytes(2**20))


def model():
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    backbone = keras_mtl.backbones.vision_transformer("nano", (16, 16, 3), 8, **sizes)
    return keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud("depth"), head_width=4)


def vast(path: Path) -> Path:
    model().save_weights(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("layers/vast", (10**7, 10**6), "float32", chunks=(8, 8))
    return path


def keras_file(path: Path) -> None:
    model().save(path)
    packed(path, "assets/zeros")


def keras_weights(path: Path) -> None:
    vast(path.with_name("v.weights.h5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.write(path.with_name("v.weights.h5"), "model.weights.h5")


def npz_of_zeros(path: Path) -> None:
    packed(path, "a.npy", npy_header((ZEROS // 4,)))


def npz_of_a_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy_header((10**6, 10**6)))


def tarball(name: str, size: int, **more):
    def write(path: Path) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        for attribute, value in more.items():
            setattr(info, attribute, value)
        path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    return write


def png(side: int, zeros: int):
    """A square picture of so many zeros, which may be fewer than its size asks for."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    def write(path: Path) -> None:
        about = chunk(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
        rows = chunk(b"IDAT", zlib.compress(bytes(zeros)))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + about + rows + chunk(b"IEND", b""))

    return write


def mat_of_zeros(path: Path) -> None:
    savemat(path, {"LabelMap": np.zeros(ZEROS, "uint8")}, do_compression=True)


def mat_of_a_header(path: Path) -> None:
    savemat(path, {"LabelMap": np.ones((3, 5))})
    shapes = [np.array(shape, "<i4").tobytes() for shape in ((3, 5), (60_000, 60_000))]
    path.write_bytes(path.read_bytes().replace(*shapes))


def archive(path: Path):
    report = verify(path, "nyud_v2", progress=False)
    raise ValueError(report.faults[0].problem)


FILES = {  # name: what it declares, what writes it, what reads it
    "a.keras": ("a member of 1 GB of zeros", keras_file, keras_mtl.load_model),
    "b.keras": ("weights of 40 TB", keras_weights, keras_mtl.load_model),
    "c.weights.h5": ("weights of 40 TB", vast, lambda path: model().load_weights(path)),
    "d.npz": ("an array of 1 GB of zeros", npz_of_zeros, read_weights),
    "e.npz": ("an array of 4 TB", npz_of_a_header, read_weights),
    "f.npy": (
        "an array of 4 TB",
        lambda path: path.write_bytes(npy_header((10**6, 10**6)) + bytes(1000)),
        lambda path: read_label(path, "pascal"),
    ),
    "g.mat": ("a map of 1 GB of zeros", mat_of_zeros, lambda path: read_label(path, "pascal")),
    "h.mat": ("a map of 29 GB", mat_of_a_header, lambda path: read_label(path, "pascal")),
    "i.tar": ("a member of 1 TB", tarball("NYUDv2/edge/1.npy", 10**12), archive),
    "j.tar": ("a name of 2 GB", tarball("a", 2**31, type=tarfile.GNUTYPE_LONGNAME), archive),
    "k.pgm": (
        "60,000 x 60,000 pixels",
        lambda path: path.write_bytes(b"P5 60000 60000 255\n" + bytes(1000)),
        read_photograph,
    ),
    "l.png": ("60,000 x 60,000 pixels", png(60_000, 1000), read_photograph),
    LARGEST: ("7,000 x 7,000 pixels", png(7000, 7000 * (3 * 7000 + 1)), read_photograph),
}


def memory(field: str) -> float:
    """MB that this process has (VmRSS) or has had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def main() -> int:
    argparse.ArgumentParser(description=DESCRIPTION).parse_args()
    rows, failed = [("file", "KB", "declares", "MB taken", "answer")], False
    with tempfile.TemporaryDirectory() as folder:
        for name, (declares, write, read) in FILES.items():
            path = Path(folder, name)
            write(path)
            Path("/proc/self/clear_refs").write_text("5")  # forgets the most memory so far
            before, answer = memory("VmRSS"), "read"
            try:
                read(path)
            except ValueError as error:
                answer = str(error).replace(folder + os.sep, "")
            taken = memory("VmHWM") - before
            failed |= taken > ALLOWED or (answer == "read") != (name == LARGEST)
            size = f"{path.stat().st_size / 1000:.0f}"
            rows.append((name, size, declares, f"{max(taken, 0):.0f}", answer))
            print(*rows[-1], flush=True)
    print(markdown(rows))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
