"""Features with labels, for the tests of heads."""

import torch
from torch import Tensor


def labelled(
    n_images: int = 90, n_values: int = 12, n_classes: int = 3, noise: float = 2.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Features of overlapping classes, of unlike scales and a mean; and labels in turn."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_images) % n_classes
    middles = torch.randn(n_classes, n_values, generator=draw)
    values = middles[labels] + noise * torch.randn(n_images, n_values, generator=draw)
    return values * torch.logspace(-2, 2, n_values) + 3, labels
