"""What `isoenergy STAGE --help` prints: common options first, the rest under headings, in at most 100 columns.

Options come from the fields of a stage's settings, as tyro takes them: their names, types, defaults and docstrings.
Those of a training, such as `--training.epochs`, are called by their last word, as `isoenergy train` has them, but for
those whose name is another option of the stage; their whole name does too.
"""

import dataclasses
import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.settings.variants import Variant
from isoenergy.training.training_config import Beta, beta_text
from workflows.training.training_placement import Workers

WIDTH = 100
_INDENT, _COLUMN = 2, 28
_COMMON = (
    *("store", "saes", "sae", "runs", "source", "name", "evaluation", "pairs", "encoder", "output", "write", "metrics"),
    *("beta", "seeds", "seed", "epochs", "k", "expansion", "null", "tune", "passes", "trials", "betas", "split"),
    "dry_run",
)
_HEADINGS: Mapping[str, Sequence[str]] = {
    "The dictionary": ("atoms", "sparse_encoder", "dictionaries", "atom_norm", "input", "bias_atoms", "bias_learned"),
    "The objective": ("alignment", "revival", "dead_after", "null_model"),
    "The optimiser": ("batch_pairs", "learning_rate", "gradient_clip", "window_pairs", "validation_pairs"),
    "How it is run": (
        *("workers", "residence", "keep_checkpoints", "patience", "log_every", "checkpoint_every", "retries", "cpus"),
        *("gpus", "concurrent", "actors", "gpus_per_actor", "part_pairs", "force", "only", "part_images", "compile"),
    ),
}
_MORE = "More"
_METAVARS = {
    **dict.fromkeys(("store", "texts", "fit_store", "reference", "transfer"), "STORE"),
    **dict.fromkeys(("saes", "sae"), "SAE"),
    **dict.fromkeys(("modalities", "columns"), "COLUMN,…"),
    **dict.fromkeys(("key", "image", "caption", "labels", "relevance", "zero_shot", "probe"), "COLUMN"),
    **dict.fromkeys(("images", "imagenet", "fashioniq"), "FOLDER"),
    **dict.fromkeys(("name", "resume", "methods"), "NAME"),
    **dict.fromkeys(("imagenet_names", "coco"), "FILE"),
    **{"runs": "RUN", "output": "PLACE", "pairs": "PAIRS", "encoder": "ENCODER", "evaluation": "FOLDER|FILE"},
    **{"templates": "NAME|FILE", "composed": "bundled|FILE", "coco_images": "FOLDER|ZIP", "separator": "CHARACTER"},
    **{"force": "STEP", "only": "STEP", "metrics": "METRIC", "write": "KIND,…", "layouts": "LAYOUT,…"},
    **{"host": "ADDRESS", "hosts": "NAME,…", "token": "WORD|none", "address": "URL"},
    **{"code": "auto|FOLDER|image", "env": "NAME[=VALUE]"},
}
_OF_TYPES = {int: "N", float: "X", str: "TEXT", Workers: "N|FEWEST,MOST|auto"}
_OF_ONE_WORD = "LOW..HIGH|A,B,C"
_SHORT_PART = "training"


@dataclass(frozen=True)
class Option:
    """A field of a stage's settings."""

    path: tuple[str, ...]
    """Names of the parts that it lies in, as they stand in the option, and its own."""
    kind: Any
    default: Any
    doc: str
    part: str
    """The first line on the part of the settings that it lies in; empty for the stage's own."""
    metavar: str
    positional: bool

    @property
    def field(self) -> str:
        """Its own name."""
        return self.path[-1]

    def named(self, short: bool) -> str:
        """Return it as it is written. short: by its last word."""
        return "--" + ".".join(self.path[-1:] if short else self.path).replace("_", "-")


def options_of(kind: Any, default: Any = None) -> list[Option]:
    """Return the options of settings; default: an instance whose values they have, if it is not given."""
    return [*_options(kind, default, (), "")]


def full_names(options: Sequence[Option], words: Sequence[str]) -> list[str]:
    """Return a command line in which options that were given by their last words have their names."""
    by_last = {option.named(short=True): option.named(short=False) for option in options if _has_short(option, options)}
    negated = {
        short.replace("--", "--no-", 1): f"{'.'.join(name.split('.')[:-1])}.no-{name.rpartition('.')[2]}"
        for short, name in by_last.items()
    }
    found = by_last | negated
    return [word if (at := word.partition("="))[0] not in found else found[at[0]] + at[1] + at[2] for word in words]


def help_text(kind: Any, default: Any, prog: str, about: str) -> str:
    """Return what `--help` prints; about: paragraphs that say what the stage does."""
    options = options_of(kind, default)
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    given = "".join(f" {option.metavar}" for option in options if option.positional)
    lines = [f"usage: {prog}{given}{' [OPTIONS]' * ('[OPTIONS]' not in prog)}", ""]
    for paragraph in filter(None, about.split("\n\n")):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width, break_on_hyphens=False), ""]
    for heading, its in _grouped(options).items():
        lines.append(f"{heading}:")
        for option in its:
            lines += _entry(option, _has_short(option, options), width)
        lines.append("")
    return "\n".join(lines).rstrip()


def _options(kind: Any, default: Any, prefix: tuple[str, ...], part: str) -> Iterator[Option]:
    docs = {it.args[1]: it.description or "" for it in _attributes(kind)}
    hints = get_type_hints(kind, include_extras=True)
    for item in dataclasses.fields(kind):
        if not item.init:
            continue
        hint = hints[item.name]
        extras: list[Any] = []
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
        value = getattr(default, item.name) if default is not None else _default(item)
        name = next((it.name for it in extras if getattr(it, "name", None) is not None), item.name)
        if dataclasses.is_dataclass(hint) and not hasattr(hint, "parse"):  # else it is written as one word
            about = " ".join((hint.__doc__ or "").split()).partition(". ")[0].partition(": ")[0].rstrip(".")
            inner = value if dataclasses.is_dataclass(value) else None
            yield from _options(hint, inner, (*prefix, name) if name else prefix, about if name else part)
            continue
        metavar = next((it.metavar for it in extras if getattr(it, "metavar", None)), "")
        yield Option(
            path=(*prefix, name),
            kind=hint,
            default=value,
            doc=" ".join(docs.get(item.name, "").split()),
            part=part,
            metavar=metavar or _metavar(item.name, hint),
            positional=any(it is tyro.conf.Positional or it == tyro.conf.Positional for it in extras)
            or "Positional" in map(str, extras),
        )


def _attributes(kind: Any) -> Iterator[Any]:
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            yield from (it for it in docstring_parser.parse_from_object(base).params if len(it.args) > 1)


def _default(item: "dataclasses.Field[Any]") -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _metavar(name: str, hint: Any) -> str:
    if name in _METAVARS and hint not in (bool, int, float):
        return _METAVARS[name] + (" …" if get_origin(hint) is tuple else "")
    return _of_type(hint)


def _of_type(hint: Any) -> str:
    if hint == Beta:
        return "BETA,…|auto"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of_type(arguments[0])
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return "|".join(dict.fromkeys(_of_type(each) for each in arguments if each is not type(None)))
    if origin is tuple:
        return f"{_of_type(arguments[0])} …" if arguments[-1] is Ellipsis else " ".join(map(_of_type, arguments))
    if isinstance(hint, type) and issubclass(hint, Variant):
        return "|".join(hint.members())
    return _OF_TYPES.get(hint, _OF_ONE_WORD if hasattr(hint, "parse") else "VALUE")


def _has_short(option: Option, options: Sequence[Option]) -> bool:
    return option.path[0] == _SHORT_PART and all(each.path != option.path[-1:] for each in options)


def _grouped(options: Sequence[Option]) -> dict[str, list[Option]]:
    """Return the options by headings, in the order in which these are printed; parts of the settings are last."""
    places = {field: heading for heading, its in _HEADINGS.items() for field in its}
    groups: dict[str, list[Option]] = {"options": [], **{heading: [] for heading in _HEADINGS}, _MORE: []}
    for option in options:
        of_stage = len(option.path) == 1 or _has_short(option, options)
        common = option.positional or (of_stage and option.field in _COMMON)
        own = "options" if common else places.get(option.field, _MORE)
        groups.setdefault(own if of_stage or not option.part else option.part, []).append(option)
    groups["options"].sort(key=lambda option: (not option.positional, _place(option.field)))
    return {heading: its for heading, its in groups.items() if its}


def _place(field: str) -> int:
    return _COMMON.index(field) if field in _COMMON else len(_COMMON)


def _entry(option: Option, short: bool, width: int) -> list[str]:
    name = option.metavar if option.positional else option.named(short)
    if option.kind is bool:
        name = name.replace("--", "--[no-]", 1) if option.default else name
    elif not option.positional:
        name = f"{name} {option.metavar}"
    said = f"{option.doc}{_said_default(option)}".strip()
    indent = " " * _COLUMN
    lines = textwrap.wrap(
        said, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    first = f"{' ' * _INDENT}{name}"
    if len(first) + 2 > _COLUMN or not lines:
        return [*textwrap.wrap(first.strip(), width, initial_indent=" " * _INDENT, subsequent_indent=indent), *lines]
    return [f"{first.ljust(_COLUMN)}{lines[0].lstrip()}", *lines[1:]]


def _said_default(option: Option) -> str:
    value = option.default
    if value is dataclasses.MISSING or value is tyro.MISSING:
        return " (required)"
    if value is None or value is False or value in ("", ()) or "efault:" in option.doc or value == str(BUNDLED_PAIRS):
        return ""
    if option.kind == Beta:
        return f" (default: {beta_text(value)})"
    words = " ".join(map(str, value)) if isinstance(value, tuple) else "on" if value is True else str(value)
    return f" (default: {words})"
