"""Progress lines reach who watches, while they watch."""

import pytest

from components.common.progress import tell, watching


def test_a_watcher_hears_what_is_told_while_it_watches_and_not_after():
    heard, also = [], []
    tell("before")
    with watching(heard.append):
        tell("one")
        with watching(also.append):
            tell("two")
        tell("three")
    tell("after")
    assert (heard, also) == (["one", "two", "three"], ["two"])


def test_a_watcher_that_raises_is_heard_no_more_and_stops_the_teller():
    def refuse(message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watching(refuse):
        tell("one")
    tell("two")  # would raise, if it were still watching
