"""Files of weights that the tests write: read back, or refused in one sentence without running."""

import gzip
import io
import pickle
import sys
import zipfile

import numpy as np
import pytest

from keras_mtl.backbones.weights.files import read_weights

pytestmark = pytest.mark.once("torch", "what is read from files are NumPy arrays")

RNG = np.random.default_rng(0)
ARRAYS = {
    "proj.weight": RNG.normal(size=(3, 4)).astype("float32"),
    "proj.bias": RNG.normal(size=3).astype("float32"),
    "norm.num_batches_tracked": np.array(7),
}


def checkpoint(torch, prefix="", holder="model"):
    """What a training script saves."""
    state = {prefix + name: torch.tensor(array) for name, array in ARRAYS.items()}
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        holder: state,
        "optimizer": optimizer.state_dict(),
        "scheduler": {"base_lrs": [2e-5], "last_epoch": 40000, "_last_lr": [0.0]},
    }


def written_by_torch(path, contents, legacy=False):
    torch = pytest.importorskip("torch")
    torch.save(contents(torch), path, _use_new_zipfile_serialization=not legacy)


def assert_same(found, expected=ARRAYS):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def refusal(path):
    with pytest.raises(ValueError) as caught:
        read_weights(path)
    sentence = str(caught.value)
    assert str(path) in sentence and sentence.endswith(".") and "\n" not in sentence
    return sentence


# === What is read ===


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("ending", ["pth.tar", "bin"])
def test_checkpoint_of_a_training_script(tmp_path, prefix, legacy, ending):
    path = tmp_path / f"checkpoint.{ending}"
    written_by_torch(path, lambda torch: checkpoint(torch, prefix), legacy)
    assert_same(read_weights(path))


@pytest.mark.parametrize("holder", ["model", "state_dict", "module", "network"])
def test_entries_that_hold_a_state_dict(tmp_path, holder):
    path = tmp_path / "checkpoint.pt"
    written_by_torch(path, lambda torch: checkpoint(torch, holder=holder))
    assert_same(read_weights(path))


def test_a_state_dict_by_itself(tmp_path):
    path = tmp_path / "weights.pth"
    written_by_torch(path, lambda torch: checkpoint(torch)["model"])
    assert_same(read_weights(str(path)))


def test_npz(tmp_path):
    np.savez(tmp_path / "weights.npz", **ARRAYS)
    assert_same(read_weights(tmp_path / "weights.npz"))
    np.savez_compressed(tmp_path / "other.npz", **{f"module.{k}": v for k, v in ARRAYS.items()})
    assert_same(read_weights(tmp_path / "other.npz"))


def test_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    library.save_file(ARRAYS, tmp_path / "weights.safetensors")
    found = read_weights(tmp_path / "weights.safetensors")
    assert_same({name: found[name] for name in ARRAYS})


def test_the_content_counts_not_the_ending(tmp_path):
    np.savez(tmp_path / "weights.npz", **ARRAYS)
    (tmp_path / "weights.npz").rename(tmp_path / "weights.pth")
    assert_same(read_weights(tmp_path / "weights.pth"))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_every_precision_becomes_float32(tmp_path, kind):
    torch = pytest.importorskip("torch")
    tensors = {"a": torch.tensor([1.0, -0.5, 2.0]).to(getattr(torch, kind))}
    expected = {"a": np.float32([1.0, -0.5, 2.0])}
    torch.save(tensors, tmp_path / "weights.pth")
    assert_same(read_weights(tmp_path / "weights.pth"), expected)
    pytest.importorskip("safetensors.torch").save_file(tensors, tmp_path / "weights.safetensors")
    assert_same(read_weights(tmp_path / "weights.safetensors"), expected)
    if kind != "bfloat16":
        np.savez(tmp_path / "weights.npz", a=tensors["a"].numpy())
        assert_same(read_weights(tmp_path / "weights.npz"), expected)


def test_reading_leaves_the_file_as_it_is(tmp_path):
    path = tmp_path / "weights.pth"
    written_by_torch(path, lambda torch: checkpoint(torch))
    before = path.read_bytes()
    read_weights(path)["proj.bias"][:] = 9
    assert path.read_bytes() == before


@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_without_the_library(tmp_path, monkeypatch, library):
    path = tmp_path / "weights"
    if library == "torch":
        written_by_torch(path, lambda torch: checkpoint(torch))
    else:
        pytest.importorskip("safetensors.numpy").save_file(ARRAYS, path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"needs .* pip install {library}"):
        read_weights(path)


# === What is refused ===


class Malicious:
    """Unpickling an instance writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("where", ["alone", "beside the weights", "among the weights"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "protocol 2", "npz"])
def test_code_in_a_pickle_is_not_run(tmp_path, kind, where):
    path, marker = tmp_path / "checkpoint.pth.tar", tmp_path / "marker"
    evil = Malicious(marker)
    contents = {
        "alone": lambda torch: evil,
        "beside the weights": lambda torch: {**checkpoint(torch), "epoch": evil},
        "among the weights": lambda torch: {"model": {"a": torch.ones(2), "b": evil}},
    }[where]
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, a=np.ones(2), b=np.array([evil], dtype=object))
    elif kind in ("zip", "legacy"):
        written_by_torch(path, contents, legacy=kind == "legacy")
    else:
        protocol = 2 if kind == "protocol 2" else None
        path.write_bytes(pickle.dumps({"model": {"a": np.ones(2)}, "b": evil}, protocol))
    sentence = refusal(path)
    assert ("holds Python objects" if kind == "npz" else "was not run") in sentence
    assert not marker.exists()


def test_a_whole_module(tmp_path):
    path = tmp_path / "model.pth"
    written_by_torch(path, lambda torch: torch.nn.Linear(2, 3))
    assert "torch.nn.modules.linear.Linear" in refusal(path)


@pytest.mark.parametrize(
    "contents",
    [
        lambda torch: [torch.ones(2)],
        lambda torch: torch.ones(2),
        lambda torch: {},
        lambda torch: {"epoch": 3, "optimizer": {"lr": 0.1}},
        lambda torch: {"model": {}},
        lambda torch: {"backbone": {"a": torch.ones(2)}, "head": {"a": torch.ones(2)}},
    ],
)
def test_no_state_dict(tmp_path, contents):
    path = tmp_path / "weights.pth"
    written_by_torch(path, contents)
    assert "not a state dict" in refusal(path)


def test_a_tensor_without_an_array(tmp_path):
    path = tmp_path / "weights.pth"
    written_by_torch(path, lambda torch: {"a": torch.eye(3).to_sparse()})
    assert "a is a torch.sparse_coo tensor" in refusal(path)


KINDS = ["zip", "legacy", "npz", "safetensors"]


def bytes_of(kind) -> bytes:
    file = io.BytesIO()
    if kind == "npz":
        np.savez(file, **ARRAYS)
    elif kind == "safetensors":
        return pytest.importorskip("safetensors.numpy").save(ARRAYS)
    else:
        written_by_torch(file, lambda torch: checkpoint(torch), legacy=kind == "legacy")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_part_of_a_file(tmp_path, kind):
    whole, path = bytes_of(kind), tmp_path / "weights"
    path.write_bytes(whole)
    read_weights(path)
    for length in np.linspace(0, len(whole) - 1, 25, dtype=int):
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("kind", ["zip", "npz"])
def test_flipped_bits(tmp_path, kind):
    whole, path = bytearray(bytes_of(kind)), tmp_path / "weights"
    whole[whole.index(ARRAYS["proj.weight"].tobytes()) + 5] ^= 1
    path.write_bytes(whole)
    assert "is damaged" in refusal(path)


def test_arrays_of_numpy_that_declare_too_much(tmp_path):
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**6)}
    np.lib.format.write_array_header_1_0(header, about)
    for name, content, said in (
        ("w.npy", header.getvalue(), "declares an array of shape (10000000, 1000000) and has"),
        ("../w.npy", header.getvalue(), "leads elsewhere"),
        ("w.npy", header.getvalue()[:40], "is broken or only part of a file"),
    ):
        with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
            archive.writestr(name, content)
        assert said in refusal(tmp_path / "weights.npz")


def test_other_files(tmp_path):
    def sentence(contents: bytes):
        (tmp_path / "weights.pth").write_bytes(contents)
        return refusal(tmp_path / "weights.pth")

    def zipped(*names):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        return file.getvalue()

    array = io.BytesIO()
    np.save(array, np.ones(3))
    assert "is empty" in sentence(b"")
    assert "web page" in sentence(b"\n<!DOCTYPE html><html>Sign in</html>")
    assert "git lfs pull" in sentence(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "compressed" in sentence(gzip.compress(b"weights"))
    assert "HDF5" in sentence(b"\x89HDF\r\n\x1a\n")
    assert "numpy.savez" in sentence(array.getvalue())
    assert "load_model" in sentence(zipped("metadata.json", "config.json", "model.weights.h5"))
    assert "TorchScript" in sentence(zipped("a/data.pkl", "a/constants.pkl"))
    assert "zip file without weights" in sentence(zipped("holiday.jpg"))
    assert "not a file of weights" in sentence(b"epoch 1: loss 0.3\n")
    assert "zip file without weights" in sentence(zipped())
    assert "no arrays" in sentence(b"\x02" + bytes(7) + b"{}")
    assert "is a folder" in refusal(tmp_path)
    assert "There is no file" in refusal(tmp_path / "missing.pth")
