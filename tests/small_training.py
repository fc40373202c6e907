"""A tiny network and made images, on which a training takes a moment."""

import numpy as np
import torch
from torch import Tensor, nn

from fewlabels.graph import Graph, node


class MadeExamples:
    """Noise of three classes, each with a brightness of its own, shifted anew in every epoch."""

    def __init__(self, n_images: int = 40, side: int = 6) -> None:
        draws = torch.Generator().manual_seed(7)
        self.labels_N = torch.randint(0, 3, (n_images,), generator=draws)
        noise = torch.randn(n_images, 3, side, side, generator=draws)
        self.images = noise + self.labels_N[:, None, None, None]

    def __len__(self) -> int:
        return len(self.labels_N)

    def batch(self, indices_N: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(indices_N)
        return self.images[chosen].roll(epoch, dims=3), self.labels_N[chosen]


def small_graph(*, norm: bool = True, dropout: float = 0.2, width: int = 8) -> Graph:
    """A convolution, batch norm, a hidden layer with dropout, three logits; for 6 x 6 images."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return Graph(
            {
                "conv": node(nn.Conv2d(3, width, 3, bias=not norm), "image"),
                "norm": node(nn.BatchNorm2d(width) if norm else nn.Identity(), "conv"),
                "act": node(nn.GELU(), "norm"),
                "pool": node(nn.AdaptiveAvgPool2d(2), "act"),
                "flat": node(nn.Flatten(), "pool"),
                "drop": node(nn.Dropout(dropout), "flat"),
                "logits": node(nn.Linear(4 * width, 3), "drop"),
            },
            inputs={"image": (3, 6, 6)},
            outputs=("logits",),
        )
