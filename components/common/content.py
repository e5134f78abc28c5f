"""What a file's content weighs, and which it is; without TensorFlow, so that all may ask."""

import functools
import gzip
import hashlib
import lzma

import zstandard


@functools.lru_cache(maxsize=8)  # every gate of a run asks for those of the same parent
def sizes(content: bytes) -> dict[str, int | str]:
    """`bytes`, `gzip_bytes` (level 9, no timestamp), `xz_bytes` (preset 9, extreme), `zstd_bytes` (level 22) and
    `sha256` of a file's content."""
    return {
        "bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9, mtime=0)),
        "xz_bytes": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        "zstd_bytes": len(zstandard.compress(content, 22)),
        "sha256": sha256(content),
    }


def sha256(content: bytes) -> str:
    """What binds a verdict to the file it was passed on, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
