# SPDX-License-Identifier: Apache-2.0
"""man(7), as far as the pages need it."""

import textwrap


def text(plain):
    """Text as it is: nothing in it is a request, and dashes can be copied."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.split("\n"))


def paragraph(plain):
    return text("\n".join(textwrap.wrap(plain, 100, break_on_hyphens=False, break_long_words=False))) + "\n"


def bold(plain):
    return f"\\fB{text(plain)}\\fR"


def italic(plain):
    return f"\\fI{text(plain)}\\fR"


def head(name, section, version, manual):
    return f".\\\" Made by packaging/manual: do not edit.\n.TH {name.upper()} {section} \"\" \"hvstack {version}\" \"{manual}\"\n.nh\n.ad l\n"


def section(title):
    return f".SH {title}\n"


def subsection(title):
    return f".SS {text(title)}\n"


def item(term, about):
    """term: escaped already; about: plain."""
    return f".TP\n{term}\n{paragraph(about)}"


def literal(lines):
    return ".PP\n.nf\n.RS 4\n" + "".join(f"{text(line)}\n" for line in lines) + ".RE\n.fi\n"
