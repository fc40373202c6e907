"""Groups of channels: which maps of one layer the filters of the next look at together.

Shapes: S samples, C channels, G groups, T channels in a group.
"""

import torch
from torch import Tensor

from fewlabels.errors import ConfigError


def similarity(samples_SC: Tensor) -> Tensor:
    """Energy correlation of every pair of channels, each pair whitened first: (C, C).

    The correlation of z_j^2 and z_k^2 after the pair (z_j, z_k) has been whitened to unit variance
    and no linear correlation: large where two channels tend to be strong at the same places; 1 for
    a channel and itself, 0 for a channel that never changes and any other.

    With correlation r of the standardised pair, whitening is [[a, b], [b, a]] with
    a, b = ((1 + r)^-1/2 +- (1 - r)^-1/2) / 2; the fourth moments of the whitened pair are sums of
    those of the pair, and these are matrix products over all samples. For whitening alone, r stays
    within +-0.999: channels that are (nearly) copies of one another are not blown up to noise.

    Source: Coates and Ng, NIPS 2011, "Selecting receptive fields in deep networks", section 3.1.
    """
    z_SC = samples_SC.double()
    z_SC = (z_SC - z_SC.mean(0)) / z_SC.std(0, correction=0).clamp(min=1e-12)
    n_samples = len(z_SC)
    correlation = z_SC.T @ z_SC / n_samples
    bounded = correlation.clamp(-0.999, 0.999)
    square, cube = z_SC.square(), z_SC**3
    moment_22 = square.T @ square / n_samples
    moment_31 = cube.T @ z_SC / n_samples
    moment_4 = square.square().mean(0)
    plus, minus = (1 + bounded).rsqrt(), (1 - bounded).rsqrt()
    a, b = (plus + minus) / 2, (plus - minus) / 2

    def after(
        own_40: Tensor,
        other_40: Tensor,
        own_31: Tensor,
        other_31: Tensor,
        both_22: Tensor,
        p: Tensor,
        q: Tensor,
        r: Tensor,
        s: Tensor,
    ) -> Tensor:
        """E[(p x + q y)^2 (r x + s y)^2] from the pair's fourth moments."""
        return (
            p**2 * r**2 * own_40
            + q**2 * s**2 * other_40
            + 2 * p * r * (p * s + q * r) * own_31
            + 2 * q * s * (p * s + q * r) * other_31
            + (p**2 * s**2 + q**2 * r**2 + 4 * p * q * r * s) * both_22
        )

    moments = (moment_4[:, None], moment_4[None], moment_31, moment_31.T, moment_22)
    both = after(*moments, a, b, b, a)
    first, second = after(*moments, a, b, a, b), after(*moments, b, a, b, a)
    # variances of the whitened values, 1 but for constant channels and near copies
    variance = correlation.diagonal()
    own = a**2 * variance[:, None] + b**2 * variance + 2 * a * b * correlation
    other = own.T
    spread = (first - own**2).clamp(min=1e-12) * (second - other**2).clamp(min=1e-12)
    result = (both - own * other) / spread.sqrt()
    return result.fill_diagonal_(1.0).float()


def choose(
    samples_SC: Tensor, n_groups: int, channels_per_group: int, generator: torch.Generator
) -> Tensor:
    """For each of `n_groups` channels drawn at random, it and the channels most similar to it.

    Returns
    -------
    members_GT : int64, the drawn channel first

    Raises ConfigError if there are fewer channels than a group has.
    Source: Coates and Ng, NIPS 2011, section 3.2.
    """
    n_channels = samples_SC.shape[1]
    if channels_per_group > n_channels:
        raise ConfigError(
            f"groups of {channels_per_group} channels need a layer below with as many; it has "
            f"{n_channels}: set fewer, for each layer, as in --set filters.channels_per_group=0,32"
        )
    rounds = -(-n_groups // n_channels)  # more groups than channels: some start twice
    drawn = torch.cat([torch.randperm(n_channels, generator=generator) for _ in range(rounds)])
    closeness = similarity(samples_SC)[drawn[:n_groups]]
    closeness[torch.arange(n_groups), drawn[:n_groups]] = torch.inf
    return closeness.topk(channels_per_group, dim=1).indices
