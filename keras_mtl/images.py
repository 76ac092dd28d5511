"""ImageNet's statistics, which the papers' backbones were trained with, on the 0..255 scale."""

IMAGE_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGE_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
