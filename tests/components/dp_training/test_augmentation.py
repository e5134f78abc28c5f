"""Copies of an example depend on that example alone."""

import numpy as np
import pytest

from components.common.errors import ConfigError
from components.dp_training.augmentation import augmented
from components.dp_training.config import TrainerConfig
from components.privacy.secret_bits import SecretBits

IMAGES = np.random.default_rng(0).integers(1, 256, (5, 8, 9, 1), np.uint8)


def test_without_augmentations_images_stay_and_copies_stand_together():
    np.testing.assert_array_equal(augmented(IMAGES, (), 1, SecretBits("test", 1)), IMAGES)
    np.testing.assert_array_equal(augmented(IMAGES, (), 3, SecretBits("test", 1))[3:6], np.stack([IMAGES[1]] * 3))


def test_a_flip_is_the_image_or_its_mirror():
    made = augmented(np.repeat(IMAGES, 50, 0), ("flip",), 1, SecretBits("test", 2))
    mirrored = [np.array_equal(m, o[:, ::-1]) for m, o in zip(made, np.repeat(IMAGES, 50, 0), strict=True)]
    kept = [np.array_equal(m, o) for m, o in zip(made, np.repeat(IMAGES, 50, 0), strict=True)]
    assert all(np.array(mirrored) | np.array(kept)) and 80 < sum(mirrored) < 170


def test_a_shift_moves_the_whole_image_and_fills_with_zeros():
    made = augmented(IMAGES, ("shift",), 40, SecretBits("test", 3)).reshape(5, 40, 8, 9)
    padded = np.pad(IMAGES[..., 0], [(0, 0), (4, 4), (4, 4)])
    seen = set()
    for image, copies in zip(padded, made, strict=True):
        for copy in copies:
            windows = {(i, j): image[i : i + 8, j : j + 9] for i in range(2, 7) for j in range(2, 7)}
            (place,) = [k for k, w in windows.items() if np.array_equal(w, copy)]
            seen.add(place)
    assert len(seen) == 25


def test_an_example_is_made_of_nothing_but_itself():
    other = IMAGES.copy()
    other[0] = 255 - other[0]
    first, second = (augmented(i, ("shift", "flip"), 4, SecretBits("test", 4)) for i in (IMAGES, other))
    np.testing.assert_array_equal(first[4:], second[4:])
    assert not np.array_equal(first[:4], second[:4])


SETTINGS = {"population": 10, "expected_batch_size": 2, "steps": 1, "l2_norm_clip": 1.0, "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"augmentations": ("mixup",)}, "must not mix examples: mixup"),
        ({"augmentations": ("rotate",)}, "be of shift, flip"),
        ({"augmentation_multiplicity": 4}, "be 1 where there are no augmentations"),
        ({"schedule": "wavy"}, "be one of constant, linear, cosine"),
        ({"optimizer": "lamb"}, "be one of sgd, adam"),
    ],
)
def test_what_breaks_the_clip_or_means_nothing_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        TrainerConfig(**SETTINGS, **change)
