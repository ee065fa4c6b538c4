"""--help shows what was written: units in brackets, too."""

import pytest
from typer import rich_utils
from typer.main import get_command

from rpaccel.cli import app


def words(text):
    """Return what is shown of a help, without frames, line breaks and marks of code."""
    return " ".join(text.replace("`", "").replace("│", " ").split())


def commands(group, above=()):
    """Yield (names, command) of every verb, groups too."""
    for name, command in group.commands.items():
        yield (*above, name), command
        yield from commands(command, (name,)) if hasattr(command, "commands") else ()


EVERY = list(commands(get_command(app)))


@pytest.mark.parametrize(("names", "command"), EVERY, ids=[" ".join(names) for names, _ in EVERY])
def test_help_shows_every_word(rpaccel, monkeypatch, names, command):
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", 400)
    _, out, _ = rpaccel(*names, "--help")
    shown = words(out)
    assert words(command.help) in shown
    for parameter in command.params:
        assert words(parameter.help or "") in shown, parameter.name


def test_help_shows_units(rpaccel):
    _, out, _ = rpaccel("schedule", "--help")
    assert "Load [queries/s]." in words(out) and "SLA, p99 [ms]." in words(out)
