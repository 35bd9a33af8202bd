"""A command line of which every word counts: nothing left over, nothing said twice, no value that is another flag."""

import os

from absl import flags

from youtube8m_mod.errors import UserError


def tighten(flag: flags.Flag) -> None:
    """Makes a flag refuse a second, different value, an empty one, and the next flag in place of one.

    In its values `~` is the home folder, as a shell has it only at the beginning of a word.
    """
    parse, several = flag.parse, isinstance(flag, flags.MultiFlag)

    def parse_strictly(argument):
        for text in argument if isinstance(argument, list) else [argument]:
            _check(flag, text)
        earlier = flag.value if flag.present and not several else None
        parse(argument if flag.boolean or several else _expanded(argument))
        if earlier is not None and flag.value != earlier:
            raise _error(f"--{flag.name} is given twice, as {_shown(earlier)} and as {_shown(flag.value)}.")

    flag.parse = parse_strictly


def parse(argv: list[str]) -> list[str]:
    """Parses a command line; raises `UserError` for what is wrong with it, what is left over included."""
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:  # The latter for --noflag=value.
        raise UserError(error) from error
    if rest[1:]:
        raise UserError(_left_over(argv, rest[1]))
    return rest


def _check(flag, text):
    if not isinstance(text, str):
        return
    if not text.strip() and flag.default != text:
        raise _error(f"--{flag.name} is empty: give it a value, or leave it out.")
    name = text.lstrip("-").partition("=")[0]
    if text.startswith("-") and (name in flags.FLAGS or name.removeprefix("no") in flags.FLAGS):
        raise _error(f'--{flag.name} has no value: what follows is "{text}".')


def _left_over(argv, word):
    before = argv[argv.index(word) - 1] if word in argv[1:] else ""
    name, given, _ = before.lstrip("-").partition("=")
    sentence = f'expected flags only, got "{word}"'
    flag = flags.FLAGS[name] if before.startswith("-") and name in flags.FLAGS else None
    if flag is not None and flag.boolean and not given:
        return f"{sentence}: --{name} is a switch, write --{name}={word} or --{'no' * _is_false(word)}{name}."
    if "=" in word and "set" in flags.FLAGS and flags.FLAGS["set"].present:
        return f"{sentence}: each field=value needs a --set of its own, as in --set {word}."
    return f"{sentence}: put a value with blanks or * in quotes, and each value behind the = of its flag."


def _is_false(word):
    return word.lower() in ("false", "0", "f", "n", "no")


def _expanded(argument):
    if not isinstance(argument, str) or "~" not in argument:
        return argument
    return ",".join(
        os.path.expanduser(part.strip()) if part.strip().startswith("~") else part for part in argument.split(",")
    )


def _shown(value):
    return ",".join(value) if isinstance(value, list) else str(value)


def _error(sentence):
    return flags.IllegalFlagValueError(sentence)
