"""Which of a network's own answers it learns from: thresholds by class, alignment, shares.

Nothing here knows a network: answers are rows of probabilities.

Shapes: U unlabelled images, L classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL = 1e-6  # no class is answered less often than that


def aligned(answers_UL: Tensor, mean_L: Tensor, prior_L: Tensor) -> Tensor:
    """Answers times prior / mean, each brought back to a sum of 1.

    Parameters
    ----------
    mean_L : the mean of the answers so far; prior_L : what it should be

    Source: Berthelot et al., ReMixMatch, ICLR 2020 (arXiv:1911.09785), section 3.1.
    """
    answers_UL = answers_UL * (prior_L / mean_L.clamp(min=SMALL))
    return answers_UL / answers_UL.sum(1, keepdim=True)


def class_thresholds(overall: Tensor, mean_L: Tensor, least: float = 0.0) -> Tensor:
    """The threshold of each class: the overall one, lower where a class is answered less.

    Parameters
    ----------
    overall : 0-d, the moving mean of the highest probability
    mean_L : the moving mean of the answers; least : none is lower

    Source: Wang et al., FreeMatch, ICLR 2023 (arXiv:2205.07246), section 4.1; the idea, Zhang et
    al., FlexMatch, NeurIPS 2021.
    """
    return (overall * mean_L / mean_L.max().clamp(min=SMALL)).clamp(min=least)


def confident(answers_UL: Tensor, thresholds_L: Tensor) -> tuple[Tensor, Tensor]:
    """The class of each answer (int64), and whether its probability is at least its threshold."""
    highest_U, classes_U = answers_UL.max(1)
    return classes_U, highest_U >= thresholds_L[classes_U]


def sharpened(answers_UL: Tensor, temperature: float) -> Tensor:
    """Answers to the power 1 / temperature, each brought back to a sum of 1; at 0 their classes.

    Source: Berthelot et al., MixMatch, NeurIPS 2019, equation 7.
    """
    if temperature == 0:
        return F.one_hot(answers_UL.argmax(1), answers_UL.shape[1]).to(answers_UL.dtype)
    return (answers_UL.clamp(min=torch.finfo(answers_UL.dtype).tiny).log() / temperature).softmax(1)


def weighted_mean(values: Tensor, weights_U: Tensor) -> Tensor:
    """The mean over the first axis, each row with its weight; 0 where nothing weighs anything."""
    total = weights_U.sum().clamp(min=SMALL)
    return torch.tensordot(weights_U, values, dims=1) / total


def imbalance(mean_L: Tensor, prior_L: Tensor) -> float:
    """The part of the answers that would have to move for their mean to be the prior, in [0, 1].

    It is the total variation distance of the two.
    """
    return float((mean_L - prior_L).abs().sum() / 2)


def class_shares(labels_N: Tensor, n_classes: int) -> Tensor:
    """The part of the labels that each class has: float32 of shape (n_classes,)."""
    return torch.bincount(labels_N, minlength=n_classes).float() / max(1, len(labels_N))


def likely_shares(
    answers_UL: Tensor, weights_U: Tensor, prior_L: Tensor, *, n_steps: int = 200
) -> Tensor:
    """The shares of the classes among images under which these answers are likeliest: (L,).

    The mean answer is drawn to the classes' shares among the labels: of a class that no image is
    of, other classes' images are taken for it. Expectation-maximization undoes that,

        shares <- mean over images of answers shares / prior, each brought back to a sum of 1

    Parameters
    ----------
    answers_UL : as sure as they are right; weights_U : of the images
    prior_L : shares among the labelled images that the answers were learned from

    Source: Saerens, Latinne and Decaestecker, Neural Computation 14, 2002, equation 2.5.
    """
    shares_L = prior_L
    for _ in range(n_steps):
        shares_L = weighted_mean(aligned(answers_UL, prior_L, shares_L), weights_U)
    return shares_L


def balanced_choice(classes_M: Tensor, sure_M: Tensor, n_most: int, prior_L: Tensor) -> Tensor:
    """The surest images of each class, at most its share of `n_most`: their indices, increasing.

    A class with many sure images does not take over: what a class with few leaves free stays free.

    Parameters
    ----------
    sure_M : 0 is never chosen
    """
    chosen = []
    for label, share in enumerate(prior_L.tolist()):
        of_class = torch.nonzero((classes_M == label) & (sure_M > 0)).flatten()
        order = torch.argsort(sure_M[of_class], descending=True, stable=True)
        chosen.append(of_class[order][: round(share * n_most)])
    return torch.cat(chosen).sort().values
