"""Where the secrets of private training and of noised statistics come from: a cipher's stream under a fresh key.

Noise and samples hide an example only from who cannot tell their bits from random ones (computational differential
privacy: Mironov et al. 2009, CRYPTO, definition 4). The bits are AES-256 in counter mode (NIST SP 800-38A, section
6.5), under a key of the operating system's entropy that lives in memory only. See docs/privacy.md.
"""

import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_ZEROS = bytes(2**17)
BLOCK_BITS = 128


class SecretBits:
    """A stream of random bits that nobody knows; a forked process goes on with a key of its own.

    Args:
        purpose: keeps apart the streams of one fixed seed.
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(self, purpose: str, insecure_fixed_seed: int | None = None):
        self._seed = None if insecure_fixed_seed is None else f"{purpose}:{insecure_fixed_seed}"
        self._begin()

    def _begin(self) -> None:
        key = os.urandom(32) if self._seed is None else hashlib.sha256(self._seed.encode()).digest()
        self._process = os.getpid()
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int, out: np.ndarray | None = None) -> np.ndarray:
        """uint64 [count]: the next 64 bits of the stream each.

        Args:
            out: uint64 of at least `count` + 2, to be written to; the result is then its beginning.
        """
        if os.getpid() != self._process:
            self._begin()
        size = 8 * count
        if out is None:
            out = np.empty(count + 2, np.uint64)
        zeros = memoryview(_ZEROS)[:size] if size <= len(_ZEROS) else bytes(size)
        self._stream.update_into(zeros, memoryview(out).cast("B"))  # which wants room for a block more
        return out[:count]

    def below(self, bound: int, count: int) -> np.ndarray:
        """int64 [count] from 0 to `bound` - 1, each as likely but for a factor of 1 ± bound / 2⁶⁴."""
        return (self.words(count) % np.uint64(bound)).astype(np.int64)
