# SPDX-License-Identifier: Apache-2.0
"""The README's blocks of commands, for the tests that run them as they stand."""
import pathlib
import textwrap

TOP = pathlib.Path(__file__).resolve().parents[2]
README = TOP / "README.md"
# What stands there to be looked at and not to be run, by its first word.
NOT_COMMANDS = {"hvcore/"}


def blocks():
    """Every block of commands, in order: text without its margin."""
    found, lines = [], []
    for line in [*README.read_text().splitlines(), ""]:
        if line.startswith("    "):
            lines.append(line)
        elif lines:
            found.append(textwrap.dedent("\n".join(lines)) + "\n")
            lines = []
    return [text for text in found if text.split()[0] not in NOT_COMMANDS]


def block(first, places=()):
    """The one block whose first line begins so, with places of this machine in the place of the README's."""
    fitting = [text for text in blocks() if text.startswith(first)]
    assert len(fitting) == 1, f"{len(fitting)} blocks of the README begin with {first!r}"
    text = fitting[0]
    for there, here in dict(places).items():
        assert there in text, f"{there!r} does not stand in the README's block:\n{text}"
        text = text.replace(there, str(here))
    return text
