"""Filters of a patch encoder as pictures, and as a notebook shows them.

Shapes: K filters, E whitened values, T channels seen, s side of a patch.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fewlabels import notebook

if TYPE_CHECKING:
    from fewlabels.layers import PatchEncoder

MOST_SHOWN = 256  # in a notebook, which keeps them in its file


def pictures(encoder: "PatchEncoder") -> Tensor:
    """Centroids of the first group in the space of ZCA-whitened patches: (K, channels, s, s).

    Each is around 0; 0 in channels that the group does not look at.
    """
    # rows of the projection are eigenvectors times a scale: their directions lead back to pixels
    axes_ETss = F.normalize(encoder.project_GETss[0].flatten(1), dim=1)
    pictures_KD = encoder.centroids_GKE[0] @ axes_ETss
    seen = pictures_KD.view(-1, *encoder.project_GETss.shape[2:])
    whole = seen.new_zeros(len(seen), encoder.channels, *seen.shape[2:])
    whole[:, encoder.members_GT[0]] = seen
    return whole


def as_html(encoder: "PatchEncoder") -> str:
    """A gallery of the filters over images; of those over other maps, which have no colours, words.

    Of many filters some hundred, evenly over the order of the gallery.
    """
    if encoder.channels != 3 or encoder.groups > 1:
        return notebook.preformatted(repr(encoder))
    from fewlabels import figures

    pictures_K3ss = pictures(encoder).detach().cpu().numpy()
    order = figures.gallery_order(pictures_K3ss)
    n_shown = min(MOST_SHOWN, len(order))
    shown = order[np.linspace(0, len(order) - 1, n_shown).astype(int)]
    size = encoder.patch_size
    title = f"{len(order):,} filters of {size} x {size} pixels"
    title += f", {n_shown} of them shown" if n_shown < len(order) else ""
    sheet = figures.filter_gallery(pictures_K3ss[shown])
    return notebook.block(title, [notebook.picture(sheet, title)])
