"""Whose records judge: the roles that are taken out of the files of `train`, by a hash of each record's owner.

A span then brings a holdout part of its own, so that the holdout is renewed with every span.

A record's role is a function of its own key, its `person` or else its `id`, and of the shares, and of nothing else: no
other record, no file's name, no order and no chance enters it. Adding or removing one record, or all records of one
person, therefore moves no other record into or out of `train`: spans that are neighbours before the split are
neighbours after it, and what is said of adding or removing one example of `train` holds. All records of a person, over
all spans, have one role, as long as each of them names the person. Which role a key has is no secret, because the hash
has no key of its own: whoever chooses ids chooses roles.
"""

import hashlib

from components.example_gen.config import SharesConfig

_RANGE = 2**64
_DOMAIN = b"lockgate role 1"  # so that this hash is independent of every other one over the same keys


def role_of(id: bytes, person: bytes, shares: SharesConfig) -> str:
    """The role of a record in the files of `train`.

    The first 8 bytes of SHA-256(domain, kind of key, key), as a fraction in [0, 1): below `shares.holdout` it is
    holdout, from 1 - `shares.validation` on validation, between them train. So another share of one of the two moves
    records between it and train, and none between the two.

    Args:
        id, person: the record's features, empty where it lacks them, not both.
        shares: of the two roles.
    """
    kind, key = (b"person", person) if person else (b"id", id)
    digest = hashlib.sha256(b"\0".join((_DOMAIN, kind, key))).digest()
    place = int.from_bytes(digest[:8], "big")
    if place < int(shares.holdout * _RANGE):
        return "holdout"
    return "validation" if place >= _RANGE - int(shares.validation * _RANGE) else "train"
