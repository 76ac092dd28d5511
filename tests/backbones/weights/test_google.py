"""Google's names, against the network that these files are of."""

import pytest

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")


def test_vit(vit, projects, tmp_path):
    projects.check_vit(vit, tmp_path / "vit.npz", projects.google_vit)
