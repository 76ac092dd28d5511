"""Files that declare too much or lead elsewhere are refused before what they declare is read."""

import io
import re
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from keras_mtl import declared
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.verify import verify

pytestmark = pytest.mark.once("torch", "files know no backend")


def member(name, size=0, **more):
    """A tarball of one header and a few bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    for attribute, value in more.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


LINK, HARD_LINK = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
TARBALLS = {
    "large": (member("NYUDv2/edge/1.npy", 10**12), "declares 1,000,000 MB for NYUDv2/edge/1.npy"),
    "all": (
        (member("NYUDv2/a", 2**26)[:512] + bytes(2**26)) * 2,
        "declares 134 MB for all in it and has",
    ),
    "above": (member("../../passwords"), "holds '../../passwords', which leads elsewhere"),
    "root": (member("/etc/passwords"), "holds '/etc/passwords', which leads elsewhere"),
    "link": (member("NYUDv2/a", linkname="/etc", **LINK), "holds 'NYUDv2/a', which leads"),
    "hard": (member("NYUDv2/a", linkname="../b", **HARD_LINK), "holds 'NYUDv2/a', which leads"),
}


@pytest.mark.parametrize("kind", TARBALLS)
def test_tarballs(tmp_path, kind):
    content, said = TARBALLS[kind]
    path = tmp_path / "NYUDv2.tar"
    path.write_bytes(content[:1536])  # what it declares it does not hold
    with pytest.raises(declared.Refused) as error:
        for _ in declared.members(io.BytesIO(content), path):
            pass
    assert said in str(error.value) and str(error.value).startswith(str(path))
    if kind != "all":
        with pytest.raises(ArchiveError, match="^" + re.escape(str(error.value))):
            verify(path, "nyud_v2", progress=False)
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_of_gigabytes(tmp_path):
    path = tmp_path / "NYUDv2.tar"
    path.write_bytes(member("a", 2**31, type=tarfile.GNUTYPE_LONGNAME))
    fault = verify(path, "nyud_v2", progress=False).faults[0]
    assert "it declares a name of 2147483648 bytes" in fault.problem


def matlab(tmp_path, value, **how):
    savemat(tmp_path / "a.mat", {"LabelMap": value}, **how)
    return (tmp_path / "a.mat").read_bytes()


def test_matlab(tmp_path):
    whole = matlab(tmp_path, np.eye(40), do_compression=True)
    np.testing.assert_array_equal(declared.read_mat(whole, "a.mat")["LabelMap"], np.eye(40))
    zeros = matlab(tmp_path, np.zeros(70 * 2**20, "uint8"), do_compression=True)
    with pytest.raises(declared.Refused, match="a.mat declares .* MB for all in it and has 0 MB"):
        declared.read_mat(zeros, "a.mat")
    shape = np.array([3, 5], "<i4").tobytes()
    vast = matlab(tmp_path, np.ones((3, 5))).replace(shape, np.array([60000] * 2, "<i4").tobytes())
    with pytest.raises(declared.Refused, match=r"LabelMap of shape \(60000, 60000\) and has"):
        declared.read_mat(vast, "a.mat")
