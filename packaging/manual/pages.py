#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pages.py API_GEN SCHEMAS HVADM VMMSD CONF VERSION OUTPUT...: write each page, known by its file name."""

import json
import pathlib
import re
import subprocess
import sys

import roff
import words


def run(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def option_term(row):
    names = ", ".join(roff.bold(name) for name in (row.get("letter"), row["option"]) if name)
    if row.get("letter") == row["option"]:
        names = roff.bold(row["option"])
    return names + (f" {roff.italic(row['argument'])}" if "argument" in row else "")


def rows(entries):
    out, loose = "", []
    for row in entries:
        if "term" not in row:
            loose.append(row["about"])
            continue
        out += roff.item(option_term(row) if "option" in row else roff.bold(row["term"]), row["about"])
    return (roff.paragraph(" ".join(loose)) if loose else "") + out


def files(entries):
    return roff.section("FILES") + "".join(roff.item(roff.italic(name), about) for name, about in entries)


def sentence(about):
    return about[0].upper() + about[1:] + "."


def paragraphs(texts):
    return ".PP\n".join(roff.paragraph(text) for text in texts)


# hvadm(1)

def command(entry):
    name = " ".join(word for word in (entry["noun"], entry["verb"]) if word)
    usage = f" {roff.italic(entry['usage'])}" if entry["usage"] else ""
    out = f".SS {roff.text(name)}\n{roff.bold('hvadm ' + name)}{usage}\n.PP\n{roff.paragraph(sentence(entry['about']))}"
    if entry["rows"] and "term" not in entry["rows"][0]:
        out += ".PP\n"
    return out + rows(entry["rows"])


def allowed(field):
    spec, out = field.spec, []
    if field.kind == "ENUM":
        out.append("one of " + ", ".join(field.values))
    for key, before in (("min", "at least"), ("max", "at most"), ("multiple", "in steps of"), ("max_bytes", "bytes at most:")):
        if key in spec:
            out.append(f"{before} {spec[key]}")
    if spec.get("default") not in (None, ""):
        out.append(f"default {json.dumps(spec['default']).strip(chr(34))}")
    if spec.get("when") == "off":
        out.append("changes only while the VM is off")
    return f" ({'; '.join(out)})" if out else ""


def settings(model):
    out = ""
    for field in model.records["settings"].fields:
        field.values = list(model.enums[field.ref].values) if field.kind == "ENUM" else []
        out += roff.item(roff.bold(field.name), field.about + allowed(field))
    return out


def statuses(model):
    meanings = {0: ["Done"], 2: ["Wrong use"]}
    for error in model.errors:
        meanings.setdefault(error["exit"], []).append(f"{error['name']}: {error['about']}")
    return "".join(roff.item(roff.bold(str(status)), ". ".join(meanings[status]) + ".") for status in sorted(meanings))


def hvadm_1(given):
    told = json.loads(run(given.hvadm, "--json", "help"))
    out = [roff.head("hvadm", 1, given.version, "hvstack"), roff.section("NAME"), "hvadm \\- manage virtual machines\n",
           roff.section("SYNOPSIS"), f"{roff.bold('hvadm')} [{roff.italic('OPTION')}...] {roff.italic('NOUN VERB')} ...\n.br\n"
           f"{roff.bold('hvadm help')} [{roff.italic('NOUN')} [{roff.italic('VERB')}]]\n",
           roff.section("DESCRIPTION"), paragraphs(words.HVADM),
           roff.section("OPTIONS"), "These may stand anywhere before \\fB\\-\\-\\fR.\n", rows(told["options"]),
           roff.section("COMMANDS"), "".join(map(command, told["commands"])),
           roff.section("SETTINGS"), "What \\fBvm set\\fR and \\fBvm create \\-\\-set\\fR take as KEY=VALUE.\n", settings(given.model),
           roff.section("EXIT STATUS"), statuses(given.model),
           roff.section("ENVIRONMENT"), rows(told["environment"]), files(words.HVADM_FILES), roff.section("EXAMPLES")]
    out += [".PP\n" + roff.paragraph(about) + roff.literal(lines) for about, lines in words.HVADM_EXAMPLES]
    return "".join(out) + roff.section("SEE ALSO") + "vmmsd(8), vmmsd.conf(5)\n"


# vmmsd(8)

def vmmsd_options(told):
    """(term, about) of the options, and the paragraphs around them."""
    options, texts = [], []
    for block in told.split("\n\n")[1:]:
        if not re.match(r"  (vmmsd|--)", block):
            texts.append(" ".join(block.split()))
        for line in block.splitlines() if block.startswith("  --") else ():
            begin = re.match(r"  (--\S+(?: \S+)?)(?: +(\S.*))?$", line)
            if begin:
                options.append([begin[1], begin[2] or ""])
            else:
                options[-1][1] = f"{options[-1][1]} {line.strip()}".strip()
    return options, texts


def vmmsd_8(given):
    told = run(given.vmmsd, "--help")
    options, texts = vmmsd_options(told)
    usage = [line for line in told.split("\n\n")[1].replace("\n        ", " ").splitlines()]
    out = [roff.head("vmmsd", 8, given.version, "hvstack"), roff.section("NAME"), roff.text(told.splitlines()[0]).replace(" \\- ", " \\- ", 1) + "\n",
           roff.section("SYNOPSIS"), "\n.br\n".join(roff.bold("vmmsd") + roff.text(line.strip().removeprefix("vmmsd")) for line in usage) + "\n",
           roff.section("DESCRIPTION"), paragraphs(words.VMMSD + texts), roff.section("OPTIONS")]
    for term, about in options:
        name, _, argument = term.partition(" ")
        out.append(roff.item(roff.bold(name) + (f" {roff.italic(argument)}" if argument else ""), about))
    out += [roff.section("SIGNALS")] + [roff.item(roff.bold(name), about) for name, about in words.VMMSD_SIGNALS]
    return "".join(out) + files(words.VMMSD_FILES) + roff.section("SEE ALSO") + "hvadm(1), vmmsd.conf(5), systemctl(1)\n"


# vmmsd.conf(5)

def conf_entries(lines):
    """Of a commented file: ("text", paragraph), ("section", name), ("key", name, value, what the comment says)."""
    comment = []
    for line in lines + [""]:
        key = re.match(r"#?([a-z-]+) = (.*)$", line)
        if line.startswith("# "):
            comment.append(line[2:])
            continue
        if line.startswith("["):
            yield "section", line.strip("[]")
        elif key:
            yield "key", key[1], key[2], " ".join(comment)
        elif comment:
            yield "text", " ".join(comment)
        comment = []


def vmmsd_conf_5(given):
    out = [roff.head("vmmsd.conf", 5, given.version, "hvstack"), roff.section("NAME"), "vmmsd.conf \\- configuration of hvstack's service\n",
           roff.section("SYNOPSIS"), "/etc/hvstack/vmmsd.conf\n.br\n/etc/hvstack/vmmsd.conf.d/*.conf\n",
           roff.section("DESCRIPTION"), paragraphs(words.CONF)]
    for kind, name, *more in conf_entries(given.conf.read_text().splitlines()):
        if kind == "text":
            out.append(".PP\n" + roff.paragraph(name))
        elif kind == "section":
            out.append(roff.section(f"SECTION [{name}]"))
        else:
            out.append(roff.item(f"{roff.bold(name)} = {roff.italic(more[0])}", more[1]))
    return "".join(out) + roff.section("SEE ALSO") + "vmmsd(8), hvadm(1)\n"


PAGES = {"hvadm.1": hvadm_1, "vmmsd.8": vmmsd_8, "vmmsd.conf.5": vmmsd_conf_5}


class Given:
    def __init__(self, api_gen, schemas, hvadm, vmmsd, conf, version):
        sys.path.append(api_gen)
        import model
        self.model = model.Model(f"{schemas}/api", f"{schemas}/config")
        self.hvadm, self.vmmsd, self.conf, self.version = hvadm, vmmsd, pathlib.Path(conf), version


def main(argv):
    given = Given(*argv[1:7])
    for output in map(pathlib.Path, argv[7:]):
        output.write_text(PAGES[output.name](given))


if __name__ == "__main__":
    main(sys.argv)
