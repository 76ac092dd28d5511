"""The authors' names, against their networks."""

import pytest

from keras_mtl.backbones import HRNet, load_weights

torch = pytest.importorskip("torch", reason="the references are in PyTorch")

ODD = (33, 50, 3)

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]


def test_swin(swin, projects, tmp_path):
    projects.check_swin(swin, tmp_path / "swin.pth", projects.official_swin)


# === HRNet ===


def conv_norm(inputs, outputs, kernel=3, stride=1, relu=False):
    convolution = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    parts = [convolution, torch.nn.BatchNorm2d(outputs)]
    return torch.nn.Sequential(*parts, *([torch.nn.ReLU()] if relu else []))


class Block(torch.nn.Module):
    """`conv1`, `bn1`, `conv2` and so on, and the sum with what came in."""

    def __init__(self, widths, kernels, project=False):
        super().__init__()
        self.count = len(kernels)
        for n, kernel in enumerate(kernels):
            convolution, norm = conv_norm(widths[n], widths[n + 1], kernel)
            setattr(self, f"conv{n + 1}", convolution)
            setattr(self, f"bn{n + 1}", norm)
        self.downsample = conv_norm(widths[0], widths[-1], 1) if project else None

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = torch.relu(y) if n < self.count else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Module(torch.nn.Module):
    """Blocks on every branch, and the fusion of all with all."""

    def __init__(self, widths, blocks):
        super().__init__()
        count = len(widths)
        basic = [[Block((w, w, w), (3, 3)) for _ in range(blocks)] for w in widths]
        self.branches = torch.nn.ModuleList(torch.nn.Sequential(*branch) for branch in basic)

        def way(j, i):
            if j == i:
                return None
            if j > i:
                return conv_norm(widths[j], widths[i], 1)
            steps = [conv_norm(widths[j], widths[j], 3, 2, relu=True) for _ in range(i - j - 1)]
            return torch.nn.Sequential(*steps, conv_norm(widths[j], widths[i], 3, 2))

        self.fuse_layers = torch.nn.ModuleList(
            torch.nn.ModuleList(way(j, i) for j in range(count)) for i in range(count)
        )

    def forward(self, xs):
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        fused = []
        for i, ways in enumerate(self.fuse_layers):
            total = xs[i]
            for j, way in enumerate(ways):
                if j != i:
                    y = way(xs[j])
                    if j > i:  # bilinearly, as the authors' code for segmentation
                        y = torch.nn.functional.interpolate(y, xs[i].shape[2:], mode="bilinear")
                    total = total + y
            fused.append(torch.relu(total))
        return fused


class OfficialHRNet(torch.nn.Module):
    """The structure and the names of the authors' network, with some of a classifier."""

    def __init__(self, width, bottlenecks, modules, blocks):
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.conv1, self.bn1 = conv_norm(3, 64, 3, 2)
        self.conv2, self.bn2 = conv_norm(64, 64, 3, 2)
        first = [Block((64, 64, 64, 256), (1, 3, 1), project=True)]
        more = [Block((256, 64, 64, 256), (1, 3, 1)) for _ in range(bottlenecks - 1)]
        self.layer1 = torch.nn.Sequential(*first, *more)

        def new_branch(inputs, outputs):
            return torch.nn.Sequential(conv_norm(inputs, outputs, 3, 2, relu=True))

        self.transition1 = torch.nn.ModuleList(
            [conv_norm(256, width, relu=True), new_branch(256, widths[1])]
        )
        for stage in (3, 4):
            kept = [None] * (stage - 1)
            branch = new_branch(widths[stage - 2], widths[stage - 1])
            setattr(self, f"transition{stage - 1}", torch.nn.ModuleList([*kept, branch]))
        for stage, count in zip((2, 3, 4), modules, strict=True):
            parts = [Module(widths[:stage], blocks) for _ in range(count)]
            setattr(self, f"stage{stage}", torch.nn.Sequential(*parts))
        self.incre_modules = torch.nn.ModuleList([Block((width, 8, 8, 32), (1, 3, 1), True)])
        self.downsamp_modules = torch.nn.ModuleList([conv_norm(32, 64, 3, 2)])
        self.final_layer = conv_norm(64, 8, 1)
        self.classifier = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        xs = self.stage2([way(x) for way in self.transition1])
        xs = self.stage3([*xs, self.transition2[2](xs[-1])])
        return self.stage4([*xs, self.transition3[3](xs[-1])])


HRNET = {"width": 4, "bottlenecks": 2, "modules": (1, 2, 1), "blocks": 2}


@pytest.fixture(scope="module")
def hrnet(projects):
    with torch.device("cpu"):
        return projects.randomized(OfficialHRNet(**HRNET), spread=0.3)


def test_hrnet(projects, hrnet, tmp_path):
    names = list(hrnet.state_dict())
    for name in (
        "layer1.0.downsample.1.running_var",
        "transition1.0.0.weight",
        "transition1.1.0.0.weight",
        "transition3.3.0.1.bias",
        "stage3.1.branches.2.1.conv2.weight",
        "stage4.0.fuse_layers.0.3.1.running_mean",
        "stage4.0.fuse_layers.3.0.2.0.weight",
    ):
        assert name in names  # as in the published files
    path = tmp_path / "hrnet.pth"
    torch.save({f"module.{name}": value for name, value in hrnet.state_dict().items()}, path)
    backbone, images = HRNet(ODD, **HRNET), projects.random_images(1, *ODD)
    load_weights(backbone, path)
    with torch.no_grad():
        expected = [x.permute(0, 2, 3, 1).numpy() for x in hrnet(projects.channels_first(images))]
    for found, wanted in zip(backbone(images, training=False).values(), expected, strict=True):
        projects.assert_close(found, wanted, f"HRNet branch of {wanted.shape[1:3]}")
