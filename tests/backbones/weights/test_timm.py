"""timm's names, against the networks that these files are of."""

import pytest

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_vit(vit, projects, tmp_path):
    projects.check_vit(vit, tmp_path / "vit.pth", projects.timm_vit)


def test_swin(swin, projects, tmp_path):
    projects.check_swin(swin, tmp_path / "swin.safetensors", projects.timm_swin)
