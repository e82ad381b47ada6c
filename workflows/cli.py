"""`isoenergy STAGE …`: the same programs as `python -m workflows.STAGE …`."""

import importlib
import sys
from typing import Any

from isoenergy.errors import InputError
from workflows.command import run_command

STAGES = {
    "pipeline": "everything below, in order, from pairs to a report",
    "embed": "image-text pairs to an embedding store",
    "import": "vectors that are there already to an embedding store",
    "inspect": "what an embedding store holds, and whether it is sound",
    "train": "a standard and an aligned sparse autoencoder on a store",
    "tune": "search for settings: beta, dictionary size and more, on Ray Tune",
    "evaluate": "measure the autoencoders on held-out pairs",
    "apply": "codes and gap-closed vectors of every row of a store",
    "arena": "methods against each other on the same pairs, by one set of measures",
    "synthetic": "what autoencoders recover of known atoms, over seeds",
    "compare": "runs in MLflow side by side",
    "report": "one offline HTML page from an evaluation",
    "explore": "a live page: ask, steer, look at atoms, compare",
    "share": "put an autoencoder on the Hugging Face hub",
    "submit": "any of these as a job on a Ray cluster",
}


def main() -> None:
    """Run the stage that the command line names."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in STAGES:
        run_command(lambda: _run(arguments[0], arguments[1:]))
        return
    usage = "\n".join(f"  {name:<10} {what}" for name, what in STAGES.items())
    text = f"usage: isoenergy STAGE [options]; isoenergy STAGE --help explains the options\n\nstages:\n{usage}"
    if not arguments or arguments[0] in ("-h", "--help"):
        print(text)
        return
    print(f"isoenergy: unknown stage {arguments[0]!r}; expected one of {', '.join(STAGES)}", file=sys.stderr)
    sys.exit(2)


def _run(stage: str, arguments: list[str]) -> None:
    settings = _imported(f"workflows.settings.{stage}_settings", stage).parse(arguments)
    _imported(f"workflows.{stage}", stage).start(settings)  # takes seconds to import; --help has ended by now


def _imported(module: str, stage: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("isoenergy", "tune", "workflows"):
            raise
        raise InputError(
            f"`isoenergy {stage}` needs {error.name}, which is not installed: `pip install 'isoenergy[all]'` brings "
            f"what the stages need; isoenergy alone is fit, evaluate, stores and SAEs in Python"
        ) from error


if __name__ == "__main__":
    main()
