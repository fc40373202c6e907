"""Losses that need no labels: how strongly an output pulls, to see where the pull arrives.

N images, L classes, D features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fewlabels.model import Model


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss without labels.

    words : what it is, for a person
    gradient : values of the outputs by name -> the loss's gradient by name, of the same shapes
    """

    words: str
    gradient: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def loss_of(model: Model) -> Loss:
    """The loss that fits how the model's graph ends; it pulls at the first output."""
    graph, head = model.graph, model.head
    name = graph.outputs[0]
    if graph.shapes[name] == (len(model.class_names),):
        return against_own_answers(name)
    if "weights" in head.tensors:
        directions_DL = head.tensors["weights"] * head.tensors["scale"][:, None]
        return top_answers(name, directions_DL, head.tensors["bias"], head.tensors["mean"])
    return half_squares(name)


def against_own_answers(output: str) -> Loss:
    """Cross-entropy of logits (N, L) against the most probable class of each image.

    Its gradient is (p - onehot(argmax p)) / N: small where the network is sure of itself.
    """

    def gradient(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        logits_NL = values[output]
        own_NL = F.one_hot(logits_NL.argmax(1), logits_NL.shape[1])
        return {output: (logits_NL.softmax(1) - own_NL) / len(logits_NL)}

    return Loss(
        words="cross-entropy against the network's own most probable class, mean over images",
        gradient=gradient,
    )


def top_answers(output: str, directions_DL: Tensor, bias_L: Tensor, mean_D: Tensor) -> Loss:
    """The highest answer of a linear head, (f - mean) directions + bias, mean over images.

    Its gradient for an image is the direction of its class, over N.
    """

    def gradient(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        features_ND = values[output].flatten(1)
        head = [tensor.to(features_ND) for tensor in (directions_DL, bias_L, mean_D)]
        answers_NL = (features_ND - head[2]) @ head[0] + head[1]
        pull_ND = head[0].T[answers_NL.argmax(1)] / len(features_ND)
        return {output: pull_ND.view_as(values[output])}

    return Loss(words="highest answer of the linear head, mean over images", gradient=gradient)


def half_squares(output: str) -> Loss:
    """Half the sum of the squared features, mean over images; its gradient is features / N."""

    def gradient(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {output: values[output] / len(values[output])}

    return Loss(
        words="half the sum of squared features, mean over images (a kernel head has no "
        "direction of its own)",
        gradient=gradient,
    )
