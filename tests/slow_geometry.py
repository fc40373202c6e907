"""Where an output pixel comes from, in float64, one pixel and one step at a time: a slow twin."""

import numpy as np


def shown_slowly(
    image_3HW: np.ndarray,
    size: int,
    *,
    centre: tuple[float, float],
    step: tuple[float, float],
    flip: bool,
    shift: tuple[float, float],
    rotation_deg: float,
    scale: float,
    shear: float,
) -> np.ndarray:
    """What `resampling` says it shows of one image, not rounded; pairs are (down, right)."""

    def matrix(*rows: tuple[float, float, float]) -> np.ndarray:  # on (x, y, 1)
        return np.array([*rows, (0, 0, 1)], np.float64)

    angle, middle = np.deg2rad(rotation_deg), (size - 1) / 2
    forward = (
        matrix((1, 0, middle + shift[1]), (0, 1, middle + shift[0]))
        # y points down, so an anti-clockwise turn takes x to -y
        @ matrix((np.cos(angle), np.sin(angle), 0), (-np.sin(angle), np.cos(angle), 0))
        @ matrix((1, shear, 0), (0, 1, 0))
        @ matrix((scale * (-1 if flip else 1), 0, 0), (0, scale, 0))
        @ matrix((1 / step[1], 0, 0), (0, 1 / step[0], 0))
        @ matrix((1, 0, -centre[1]), (0, 1, -centre[0]))
    )
    backward = np.linalg.inv(forward)
    around = 8 * max(image_3HW.shape[1:])
    padded = np.pad(
        image_3HW.astype(np.float64), ((0, 0), (around,) * 2, (around,) * 2), "symmetric"
    )
    shown = np.empty((3, size, size))
    for row in range(size):
        for column in range(size):
            x, y, _ = backward @ (column, row, 1) + around
            left, top = int(np.floor(x)), int(np.floor(y))
            part_x, part_y = x - left, y - top
            shown[:, row, column] = (
                padded[:, top, left] * (1 - part_y) * (1 - part_x)
                + padded[:, top, left + 1] * (1 - part_y) * part_x
                + padded[:, top + 1, left] * part_y * (1 - part_x)
                + padded[:, top + 1, left + 1] * part_y * part_x
            )
    return shown
