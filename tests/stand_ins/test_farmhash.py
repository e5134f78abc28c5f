"""The stand-in gives the fingerprints that the C++ package of the same name gives."""

import farmhash
import pytest

KNOWN = {  # made with pyfarmhash 0.3.2 from PyPI
    "": (3696677242, 11160318154034397263),
    "a": (1016544589, 12917804110809363939),
    "label": (17762511, 17914967315253474319),
    "thirteen bytes": (1018458358, 4436103136002204915),
    "a sentence of more than twenty-four bytes": (2104834243, 11501430765276078119),
    "ä" * 30: (3609925812, 14523395079088403363),
}


@pytest.mark.parametrize("text", KNOWN)
def test_fingerprints_are_farmhashs(text):
    assert (farmhash.fingerprint32(text), farmhash.fingerprint64(text)) == KNOWN[text]
    assert farmhash.fingerprint32(text.encode()) == KNOWN[text][0]
