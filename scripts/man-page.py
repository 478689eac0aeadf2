#!/usr/bin/env python3
"""Turns what `lucida --experimental-dump-help` prints into a manual page.

    lucida --experimental-dump-help | scripts/man-page.py "$(lucida --version)" > lucida.1

Everything about commands and options comes from their definitions; only files, environment and exit
status are told here. Options that several commands have are told once.
"""

import collections
import json
import sys

# As many commands share an option before it is told apart from them.
SHARED_BY = 3

HEAD = """.\\" Made by scripts/man-page.py from the definitions of the commands.
.TH LUCIDA 1 "" "{version}" "User Commands"
.SH NAME
lucida \\- {abstract}
"""

TAIL = """.SH FILES
.TP
.I ~/.config/lucida/lucida.toml, /etc/lucida/lucida.toml
The settings, each with an explanation; the first file that exists counts.
.TP
.I ~/.cache/lucida/tuning.json
What the engine has measured on this processor.
.TP
.I /etc/modprobe.d/lucida.conf, /etc/modules\\-load.d/lucida.conf
Options of the virtual camera, and that it is loaded at boot.
.SH ENVIRONMENT
.TP
.B LUCIDA_ISA
Holds the engine to an instruction set: scalar, avx2 or avx512.
.TP
.B LUCIDA_MODELS
Folder in which models are looked for first.
.TP
.B OPENBLAS_CORETYPE
OpenBLAS's kernels; Lucida chooses where it is not set.
.SH EXIT STATUS
0 if all went well,
.B lucida doctor
found no problem, or
.B lucida check\\-config
nothing wrong; 1 if not; 64 for wrong options.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR modprobe (8),
.BR v4l2\\-ctl (1)
"""


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(text):
    """Text as it stands in a definition: indented lines stay as they are."""
    lines, indented = [], False
    for line in escape(text).split("\n"):
        if line.startswith("  ") != indented:
            indented = not indented
            lines.append(".nf" if indented else ".fi")
        lines.append(line if line.strip() else ".PP")
    return "\n".join(lines + [".fi"] * indented) + "\n"


def spelling(argument):
    """`-v, --verbose` or `--style <name>` in bold and italics."""
    names = ", ".join(
        "\\fB" + escape(("-" if name["kind"] == "short" else "--") + name["name"]) + "\\fR"
        for name in argument.get("names", []))
    value = "\\fI" + escape(argument["valueName"]) + "\\fR"
    if argument["kind"] == "positional":
        return value
    return names if argument["kind"] == "flag" else names + " " + value


def synopsis(command, path):
    words = ["\\fB" + escape(" ".join(path)) + "\\fR"]
    if any(argument["kind"] != "positional" for argument in own_arguments(command)):
        words.append("[\\fIoptions\\fR]")
    for argument in own_arguments(command):
        required = not argument["isOptional"]
        if argument["kind"] == "positional":
            words.append(spelling(argument) if required else f"[{spelling(argument)}]")
        elif required:
            words.insert(1, spelling(argument))
    return " ".join(words)


def own_arguments(command):
    return [argument for argument in command.get("arguments", [])
            if argument["shouldDisplay"] and argument.get("valueName") not in ("help", "version")]


def leaves(command, path=()):
    """Every command that does something, with the words that call it."""
    path = (*path, command["commandName"])
    subcommands = [sub for sub in command.get("subcommands", [])
                   if sub["shouldDisplay"] and sub["commandName"] != "help"]
    if not subcommands:
        yield path, command
    for sub in subcommands:
        yield from leaves(sub, path)


def described(argument):
    text = escape(argument.get("abstract", ""))
    if argument.get("defaultValue") not in (None, "false"):
        text += f" (default: {escape(argument['defaultValue'])})"
    return f".TP\n{spelling(argument)}\n{text}\n"


def page(root, version):
    commands = list(leaves(root))
    counts = collections.Counter(
        described(argument) for _, command in commands for argument in own_arguments(command)
        if argument["kind"] != "positional")
    shared = [text for text, count in counts.items() if count >= SHARED_BY]
    out = HEAD.format(version=version, abstract=escape(root["abstract"].rstrip(".")))
    out += ".SH SYNOPSIS\n" + "".join(
        synopsis(command, path) + "\n.br\n" for path, command in commands)
    out += ".SH DESCRIPTION\n" + paragraphs(root.get("discussion", "")) + ".SH COMMANDS\n"
    for path, command in commands:
        out += f".SS {escape(' '.join(path))}\n" + paragraphs(command.get("abstract", ""))
        if command.get("discussion"):
            out += ".PP\n" + paragraphs(command["discussion"])
        arguments = own_arguments(command)
        out += "".join(described(a) for a in arguments if described(a) not in shared)
        common = ["\\fB\\-\\-" + escape(a["preferredName"]["name"]) + "\\fR"
                  for a in arguments if described(a) in shared]
        if common:
            out += ".PP\nAlso " + ", ".join(common) + ": see COMMON OPTIONS.\n"
    return out + ".SH COMMON OPTIONS\n" + "".join(shared) + TAIL


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.write(page(json.load(sys.stdin)["command"], sys.argv[1]))
