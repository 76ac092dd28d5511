"""Google's names, against the network that these files are of."""

import pytest

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_vit(vit, projects, tmp_path):
    projects.check_vit(vit, tmp_path / "vit.npz", projects.google_vit)
