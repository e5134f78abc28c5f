"""What a file's content weighs, and which it is."""

import gzip
import hashlib
import lzma

from components.common.content import sha256, sizes


def test_sizes_are_those_of_the_bytes_and_the_same_each_time():
    content = b"lockgate" * 1000
    found = sizes(content)
    assert found == sizes(bytes(content))
    assert (found["bytes"], found["sha256"]) == (8000, hashlib.sha256(content).hexdigest()) == (8000, sha256(content))
    assert found["gzip_bytes"] == len(gzip.compress(content, 9, mtime=12345)) < 100
    assert len(lzma.decompress(lzma.compress(content))) == 8000 and found["xz_bytes"] < 200
    assert found["zstd_bytes"] < 100
