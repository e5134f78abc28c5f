"""What every command says of itself."""

import re

import click
import pytest
import typer

from pipeline.cli import app


def commands(group: click.Command, name: str) -> list[tuple[str, click.Command]]:
    below = getattr(group, "commands", {})
    return [(name, group), *(found for key, one in below.items() for found in commands(one, f"{name} {key}"))]


@pytest.mark.parametrize(("name", "command"), commands(typer.main.get_command(app), "lockgate"))
def test_the_help_has_no_words_that_the_terminal_swallows(name, command):
    """Rich takes a word in brackets for a style, and drops it."""
    texts = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
    assert command.help, f"{name} must say what it does"
    assert [text for text in texts if re.search(r"\[[a-z_/ ]+\]", text)] == []
