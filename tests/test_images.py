"""What a set and a part of it say of themselves in an interactive session."""

import numpy as np

from fewlabels.images import Damaged, Images, ImageSet


def test_a_part_names_its_size_in_a_line():
    pixels = np.zeros((1200, 3, 4, 6), np.uint8)
    assert repr(Images(pixels=pixels)) == "<Images: 1,200 of 4 x 6 pixels, without labels>"
    labelled = Images(pixels=pixels, labels=np.zeros(1200, np.int64))
    assert repr(labelled) == "<Images: 1,200 of 4 x 6 pixels, labelled>"


def test_a_set_names_its_parts_in_a_line():
    pixels = np.zeros((1200, 3, 4, 6), np.uint8)
    train = Images(pixels=pixels, labels=np.arange(1200) % 2)
    image_set = ImageSet(name="photos", class_names=("cat", "dog"), train=train)
    assert repr(image_set) == "<ImageSet 'photos': 2 classes; 4 x 6 pixels; train 1,200>"
    whole = ImageSet(
        name="photos",
        class_names=("cat", "dog"),
        train=train,
        unlabeled=Images(pixels=pixels[:7]),
        folds=(np.arange(4),),
        damaged=(Damaged(name="a.jpg", reason="cut short"),),
    )
    assert repr(whole) == (
        "<ImageSet 'photos': 2 classes; 4 x 6 pixels; train 1,200, unlabeled 7; folds 1; damaged 1>"
    )
