"""How command lines write what is more than a number or a word."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from isoenergy.errors import InputError
from isoenergy.settings.variants import Variant
from isoenergy.training.training_config import Beta, beta_text, parse_beta
from workflows.command import VERBOSITY, take_verbosity
from workflows.option_help import full_names, help_text, options_of
from workflows.training.training_placement import Workers

Config = TypeVar("Config")

REGISTRY = ConstructorRegistry()


def parse_config(kind: type[Config], arguments: Sequence[str] | None, prog: str) -> Config:
    """Parse a command line of the options that a stage's settings have, and of those that all stages have."""
    return parse_options(kind, None, take_verbosity(arguments), prog, f"{inspect.getdoc(kind)}\n\n{VERBOSITY}")


def parse_options(kind: type[Config], default: Config | None, words: Sequence[str], prog: str, about: str) -> Config:
    """Parse the options of settings, or print what they are and exit, if that is asked for.

    default: an instance whose values they have if they are not given.
    """
    if any(word in ("-h", "--help") for word in words):
        _print(help_text(kind, default, prog, about))
        sys.exit(0)
    _refuse_old_names(getattr(kind, "RENAMED", {}), words)
    names = full_names(options_of(kind, default), words)
    if default is None:
        return tyro.cli(kind, args=names, prog=prog, description=about, registry=REGISTRY)
    return tyro.cli(kind, default=default, args=names, prog=prog, description=about, registry=REGISTRY)


def _refuse_old_names(renamed: Mapping[str, str], words: Sequence[str]) -> None:
    """Raise InputError for an option that had another name in an earlier version."""
    for word in words:
        if new := renamed.get(word.partition("=")[0]):
            raise InputError(f"{word.partition('=')[0]} is called {new}, as in the other stages")


def one_word(
    metavar: str, parse: Callable[[str], Any], kind: Any, text: Callable[[Any], str] = str
) -> PrimitiveConstructorSpec[Any]:
    """Return how a value is written as one word: `parse` reads it, `text` writes it."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [text(value)],
    )


def _print(text: str) -> None:
    """Print a text, of which its reader may have enough before its end, as `head` has."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@REGISTRY.primitive_rule
def _variants(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if isinstance(info.type, type) and issubclass(info.type, Variant):
        names = "|".join(member.written() for member in info.type.members().values())
        return one_word(names, info.type.parse, info.type)
    return None


@REGISTRY.primitive_rule
def _betas(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type == Beta:
        return one_word("BETA,BETA…|auto", parse_beta, object, beta_text)
    return None


@REGISTRY.primitive_rule
def _workers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is Workers:
        return one_word("N|FEWEST,MOST|auto", Workers.parse, Workers)
    return None
