"""Pictures of shapes over textured backgrounds, for sets that need no download.

The same seed gives the same bytes on every machine: all is computed in float64 with operations
that IEEE 754 rounds in one way only (no sine, no matrix product, no sum over an axis), from the
raw stream of PCG64, which NumPy promises to keep.

Shapes: N images of a batch, S = side in pixels. Coordinates run over [-1, 1], x right and y down;
a distance is to the outline, negative inside (a "signed distance").
"""

from collections.abc import Callable
from math import sqrt

import numpy as np

BATCH = 16  # images drawn at once: their fields stay in the processor's cache

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]

HALF_SQRT3 = sqrt(3) / 2
COS_36, COS_72 = (sqrt(5) + 1) / 4, (sqrt(5) - 1) / 4
SIN_36, SIN_72 = sqrt(1 - COS_36 * COS_36), sqrt(1 - COS_72 * COS_72)
# outward normals of the sides of regular polygons
TRIANGLE = ((0.0, 1.0), (HALF_SQRT3, -0.5), (-HALF_SQRT3, -0.5))
PENTAGON = ((0.0, 1.0), (SIN_72, COS_72), (-SIN_72, COS_72), (SIN_36, -COS_36), (-SIN_36, -COS_36))
HEXAGON = (*TRIANGLE, *((-x, -y) for x, y in TRIANGLE))


def _disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.sqrt(x * x + y * y) - radius


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _polygon(x: np.ndarray, y: np.ndarray, normals: tuple, apothem: float) -> np.ndarray:
    return np.maximum.reduce([x * a + y * b for a, b in normals]) - apothem


def _star(x: np.ndarray, y: np.ndarray, normals: tuple, apothem: float) -> np.ndarray:
    # a point lies in a star if it is inside all sides of its polygon but one
    return np.sort(np.stack([x * a + y * b for a, b in normals]), axis=0)[-2] - apothem


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y, half = np.abs(x), y - 0.08, 0.72
    lobe = _disc(x - half / 2, y + half / 2, half * sqrt(0.5))
    return np.minimum((x + np.abs(y) - half) * sqrt(0.5), lobe)


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    head = _polygon(x, y + 0.35, TRIANGLE, 0.32)
    return np.minimum(_box(x, y - 0.4, 0.2, 0.5), head)


OBJECTS: dict[str, Distance] = {
    "disc": lambda x, y: _disc(x, y, 0.8),
    "ring": lambda x, y: np.abs(_disc(x, y, 0.66)) - 0.2,
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "triangle": lambda x, y: _polygon(x, y - 0.2, TRIANGLE, 0.52),
    "star": lambda x, y: _star(x, y, PENTAGON, 0.37),
    "cross": lambda x, y: np.minimum(_box(x, y, 0.86, 0.27), _box(x, y, 0.27, 0.86)),
    "crescent": lambda x, y: np.maximum(_disc(x, y, 0.86), -_disc(x - 0.42, y, 0.7)),
    "heart": _heart,
    "arrow": _arrow,
    "hexagon": lambda x, y: _polygon(x, y, HEXAGON, 0.72),
}

# what the unlabelled images hold beside the objects
STRANGERS: dict[str, Distance] = {
    "half disc": lambda x, y: np.maximum(_disc(x, y - 0.35, 0.9), y - 0.35),
    "bar": lambda x, y: _box(x, y, 0.95, 0.22),
    "dumbbell": lambda x, y: np.minimum(_disc(np.abs(x) - 0.55, y, 0.38), _box(x, y, 0.5, 0.12)),
    "corner": lambda x, y: np.maximum(_box(x, y, 0.75, 0.75), -_box(x - 0.4, y + 0.4, 0.8, 0.8)),
    "hexagram": lambda x, y: _star(x, y, HEXAGON, 0.45),
    "chevron": lambda x, y: np.maximum(np.abs(y + np.abs(x) - 0.45) - 0.3, np.abs(x) - 0.85),
    "texture": lambda x, y: np.ones_like(x),
}


class Draws:
    """Uniform numbers, the same on every machine and with every NumPy."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def between(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float64 array of `shape`, uniform in [low, high)."""
        raw = self._bits.random_raw(int(np.prod(shape, dtype=np.int64))) >> np.uint64(11)
        return (low + (high - low) * (raw.astype(np.float64) * 2.0**-53)).reshape(shape)

    def permutation(self, n: int) -> np.ndarray:
        """int64 array of shape (n,): 0 to n - 1 in a drawn order."""
        return np.argsort(self.between(0, 1, n), kind="stable").astype(np.int64)


def _axis(n_pixels: int) -> np.ndarray:
    return (2 * np.arange(n_pixels) + 1) / n_pixels - 1


def _noise(draws: Draws, n: int, size: int, n_nodes: int) -> np.ndarray:
    """A smooth random field of shape (N, S, S) in [0, 1]: drawn at nodes, eased in between."""
    nodes = draws.between(0, 1, n, n_nodes + 1, n_nodes + 1)
    place = (_axis(size) + 1) / 2 * n_nodes
    left = place.astype(np.int64)
    ease = place - left
    ease = ease * ease * (3 - 2 * ease)
    rows = nodes[:, left] * (1 - ease)[:, None] + nodes[:, left + 1] * ease[:, None]
    return rows[:, :, left] * (1 - ease) + rows[:, :, left + 1] * ease


def _wave(draws: Draws, n: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A wave in [0, 1] of drawn direction and 1 to 5 periods a side, between square and ramp."""
    along, across = (draws.between(-2.5, 2.5, n, 1, 1) for _ in range(2))
    turn = along * x + across * y + draws.between(0, 1, n, 1, 1)
    ramp = np.abs(2 * (turn - np.floor(turn)) - 1)
    return np.clip((ramp - 0.5) * draws.between(1, 6, n, 1, 1) + 0.5, 0, 1)


def _texture(draws: Draws, n: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A field in [0, 1], of shape (N, S, S): noise, stripes, a plaid, or something between."""
    size = x.shape[-1]
    noise = 0.6 * _noise(draws, n, size, 3) + 0.4 * _noise(draws, n, size, 9)
    plaid = draws.between(0, 1, n, 1, 1)
    waves = plaid * _wave(draws, n, x, y) + (1 - plaid) * _wave(draws, n, x, y)
    share = draws.between(0, 1, n, 1, 1)
    share = share * share * (3 - 2 * share)
    return noise * (1 - share) + waves * share


def _fill(first: np.ndarray, second: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Two colours (N, 3) mixed by a field (N, S, S) -> (N, 3, S, S)."""
    return first[:, :, None, None] + (second - first)[:, :, None, None] * field[:, None]


def _cover(below: np.ndarray, above: np.ndarray, distance_px: np.ndarray) -> np.ndarray:
    """Paint `above` over `below` inside the outline, with an edge one pixel wide."""
    painted = above - below
    painted *= np.clip(0.5 - distance_px, 0, 1)[:, None]
    painted += below
    return painted


def _pose(
    draws: Draws, x: np.ndarray, y: np.ndarray, *, reach: float, scale: tuple, turn: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates in the frame of a drawn pose, and its scale.

    `turn` is t = tan(angle / 2) at most; it keeps sines out: cos = (1 - t^2) / (1 + t^2),
    sin = 2t / (1 + t^2).
    """
    n = len(x)
    t = draws.between(-turn, turn, n, 1, 1)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    u = x - draws.between(-reach, reach, n, 1, 1)
    v = y - draws.between(-reach, reach, n, 1, 1)
    size, stretch = draws.between(*scale, n, 1, 1), draws.between(0.8, 1.2, n, 1, 1)
    return (cos * u + sin * v) / (size * stretch), (cos * v - sin * u) * stretch / size, size


def _clutter(draws: Draws, below: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One small box in four images of five, anywhere, of any colour."""
    n, size = len(x), x.shape[-1]
    u, v, _ = _pose(draws, x, y, reach=1.0, scale=(1, 1), turn=1.0)
    width, height = draws.between(0.04, 0.22, n, 1, 1), draws.between(0.04, 0.22, n, 1, 1)
    away = np.where(draws.between(0, 1, n, 1, 1) < 0.2, 9.0, 0.0)
    outline = np.maximum(np.abs(u) - width, np.abs(v) - height) + away
    colour = draws.between(0, 1, n, 3)[:, :, None, None]
    return _cover(below, colour, outline * size / 2)


def draw(distance: Distance, n: int, size: int, draws: Draws) -> np.ndarray:
    """Draw one kind of shape in `n` drawn poses, colours, lights and surroundings.

    Returns
    -------
    pixels : uint8 array of shape (n, 3, size, size)
    """
    pixels = np.empty((n, 3, size, size), dtype=np.uint8)
    for start in range(0, n, BATCH):
        batch = pixels[start : start + BATCH]
        batch[:] = _draw_batch(distance, len(batch), size, draws)
    return pixels


def _draw_batch(distance: Distance, n: int, size: int, draws: Draws) -> np.ndarray:
    axis = _axis(size)
    x = np.broadcast_to(axis, (n, size, size))
    y = np.broadcast_to(axis[:, None], (n, size, size))
    back = draws.between(0, 1, n, 3)
    other = back + draws.between(-0.33, 0.33, n, 3)
    picture = _fill(back, other, _texture(draws, n, x, y))
    for _ in range(2):
        picture = _clutter(draws, picture, x, y)

    front = draws.between(0, 1, n, 3)
    # an object in the colour of its surroundings could not be seen
    alike = np.maximum.reduce(np.abs(front - back), axis=1) < 0.4
    front = np.where(alike[:, None], np.where(back < 0.5, back + 0.5, back - 0.5), front)
    shade = front + draws.between(-0.2, 0.2, n, 3)
    u, v, scale = _pose(draws, x, y, reach=0.15, scale=(0.55, 0.9), turn=0.2)
    outline_px = distance(u, v) * scale * (size / 2)
    picture = _cover(picture, _fill(front, shade, _texture(draws, n, x, y)), outline_px)
    picture = _clutter(draws, picture, x, y)

    light = 1 + draws.between(-0.3, 0.3, n, 1, 1) * x + draws.between(-0.3, 0.3, n, 1, 1) * y
    picture = picture * (light * draws.between(0.6, 1.1, n, 1, 1))[:, None]
    picture = picture + draws.between(-0.03, 0.03, n, 3, size, size)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
