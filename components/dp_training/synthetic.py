"""Images drawn by chance: up to three textured shapes on black. They come from no data set and cost no privacy.

What is computed on them stands in for statistics that would have to be paid for on private images, as random processes
stand in for natural images in Baradad et al. 2021 (arXiv:2106.05963) and, under differential privacy, Tang et al. 2023
(arXiv:2306.06076).
"""

import numpy as np

_SHAPES = 3


def random_images(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Draws float32 images [count, height, width, channels] in [0, 1]; the same seed gives the same images.

    Args:
        count: number of images.
        shape: (height, width, channels) of an image in pixels.
        seed: of the generator; no secret.
    """
    draw = np.random.default_rng(seed)
    canvas = np.zeros((count, *shape), np.float32)
    for index in range(_SHAPES):
        mirrored = draw.random((count, 1, 1)) < 0.5
        cover = _cover(draw, count, shape[:2], mirrored, main=index == 0)
        canvas = canvas * (1 - cover) + cover * _texture(draw, count, shape, mirrored)
    return np.clip(canvas, 0.0, 1.0, dtype=np.float32)


def _cover(draw, count: int, size: tuple[int, int], mirrored: np.ndarray, main: bool) -> np.ndarray:
    """How far each pixel lies inside a ragged superellipse, [count, height, width, 1] in [0, 1]; the main shape lies
    near the middle, each of the others is there in every second image."""
    reach, least, most = (0.1, 0.3, 1.1) if main else (0.6, 0.1, 0.7)
    y, x = _grid(size)
    centre = _uniform(draw, (2, count), -reach, reach)
    half = _uniform(draw, (2, count), least, most)
    power = _uniform(draw, (count,), 2.0, 6.0)
    inside = 1 - np.abs((x - centre[0]) / half[0]) ** power - np.abs((y - centre[1]) / half[1]) ** power
    ragged = _mirror(_noise(draw, _uniform(draw, (count,), 1.5, 3.0), size), mirrored)
    steep = _uniform(draw, (count,), 4.0, 20.0) * (np.maximum(inside, -3.0) + _uniform(draw, (count,), 0, 0.8) * ragged)
    there = np.ones((count, 1, 1)) if main else draw.random((count, 1, 1)) < 0.5
    return (there / (1 + np.exp(-steep)))[..., None].astype(np.float32)


def _texture(draw, count: int, shape: tuple[int, ...], mirrored: np.ndarray) -> np.ndarray:
    """A brightness and a tint, with noise and sometimes stripes, [count, height, width, channels]."""
    y, x = _grid(shape[:2])
    grain = _mirror(_noise(draw, _uniform(draw, (count,), 0.0, 2.0), shape[:2]), mirrored)
    angle, frequency = _uniform(draw, (count,), 0, np.pi), _uniform(draw, (count,), 2.0, 20.0)
    stripes = np.sign(np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + _uniform(draw, (count,), 0, 6.28)))
    striped = draw.random((count, 1, 1)) < 0.25
    pattern = 1 + _uniform(draw, (count,), 0, 0.4) * grain + striped * _uniform(draw, (count,), 0, 0.5) * stripes
    tint = 1 - (draw.random((count, 1, 1, shape[2])) * 0.5 if shape[2] > 1 else 0.0)
    return ((_uniform(draw, (count,), 0.05, 1.0) * pattern)[..., None] * tint).astype(np.float32)


def _grid(size: tuple[int, int]) -> list[np.ndarray]:
    return np.meshgrid(*(np.linspace(-1, 1, s) for s in size), indexing="ij")


def _uniform(draw, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return draw.uniform(low, high, (*shape, 1, 1))


def _mirror(fields: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Makes the chosen fields symmetric, as many photographed objects are."""
    return np.where(mirrored, (fields + fields[:, :, ::-1]) / np.sqrt(2), fields)


def _noise(draw, slope: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Gaussian fields with spectrum 1 / frequency**slope, one slope a field, mean 0, variance 1: [n, height, width]."""
    height, width = size
    rows, columns = np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(draw.standard_normal((len(slope), 2 * height, 2 * width)))
    fields = np.fft.irfft2(white * frequency**-slope, (2 * height, 2 * width))[:, :height, :width]
    fields -= fields.mean((1, 2), keepdims=True)
    return fields / fields.std((1, 2), keepdims=True)
