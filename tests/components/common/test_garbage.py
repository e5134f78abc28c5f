"""The search for cycles is held off, and goes on whatever happened."""

import gc

import pytest

from components.common.garbage import uncollected


def test_it_is_off_inside_and_on_again_behind_an_error():
    assert gc.isenabled()
    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
