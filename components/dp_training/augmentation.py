"""Augmentation of single images: every copy depends on one example only."""

import numpy as np

from components.privacy.secret_bits import SecretBits

_SHIFT = 2


def augmented(images: np.ndarray, augmentations: tuple[str, ...], copies: int, bits: SecretBits) -> np.ndarray:
    """Makes copies of each image, each with its own random shift (up to two pixels, filled with zeros) and flip.

    Args:
        images: uint8 [n, height, width, channels].
        augmentations: of "shift" and "flip"; none returns the images as they are, repeated.
        copies: how many of each.
        bits: that shifts and flips are drawn from; who knew them would know where in the batch an example stands.

    Returns:
        uint8 [n * copies, height, width, channels]; the copies of an image stand together.
    """
    made = np.repeat(images, copies, axis=0) if copies > 1 else images
    if not augmentations:
        return made
    count, height, width = made.shape[:3]
    rows = np.broadcast_to(np.arange(height), (count, height))
    columns = np.broadcast_to(np.arange(width), (count, width))
    if "flip" in augmentations:
        columns = np.where(bits.below(2, count)[:, None] == 0, columns, columns[:, ::-1])
    if "shift" in augmentations:
        rows = rows + bits.below(2 * _SHIFT + 1, count)[:, None] - _SHIFT
        columns = columns + bits.below(2 * _SHIFT + 1, count)[:, None] - _SHIFT
        made = np.pad(made, [(0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)])
        rows, columns = rows + _SHIFT, columns + _SHIFT
    return made[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
