"""`isoenergy arena`: methods against each other on the same pairs, under one budget, by one set of measures.

Each method, strength and seed is a step: what is done is not done again, and a kill costs the trainings at work. On Ray
they are trials of Ray Tune.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from isoenergy.arena.budget import Budget
from isoenergy.arena.pairs import MadePairs, Sizes, StorePairs, draw_pairs, require_drawable, require_pairs
from isoenergy.arena.roster import METHODS, Method
from isoenergy.arena.trial import PAIRS, ArenaTrial, measure_embeddings, run_trial
from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split
from isoenergy.report.arena.arena_page import arena_markdown, arena_page, arena_parquet
from isoenergy.report.arena.standings import MethodTrials, chosen_strength, standings
from isoenergy.settings.variants import number_text
from isoenergy.storage.files import open_filesystem, without_secrets
from isoenergy.store.reader import EmbeddingStore
from isoenergy.synthetic.experiment_config import SyntheticConfig
from workflows.cluster import engine
from workflows.command import run_command
from workflows.settings.arena_settings import ArenaConfig, parse
from workflows.steps import step_plan
from workflows.steps.on_ray import run_on_ray
from workflows.steps.step_plan import PlannedStep, Step
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import require_writable, write_files

SUMMARY_FILE, TABLE_FILE, TEXT_FILE, PAGE_FILE = "arena.json", "arena.parquet", "arena.md", "arena.html"
_URIS = "store", "output", "reference", "transfer"


@dataclass(frozen=True)
class ArenaPlan:
    """The steps of an arena."""

    pairs: Step
    embeddings: Step
    trials: Mapping[str, Mapping[float, Sequence[Step]]]
    """By method and strength, a seed each."""
    budget: Budget
    source: str
    """What the pairs are, in words."""

    @property
    def steps(self) -> list[Step]:
        """All of them, the first seed of every method and strength first."""
        every = [steps for by_strength in self.trials.values() for steps in by_strength.values()]
        return [*self.first_steps, *(step for steps in every for step in steps[1:])]

    @property
    def first_steps(self) -> list[Step]:
        """What strengths are chosen by."""
        own = [steps[0] for by_strength in self.trials.values() for steps in by_strength.values()]
        return [self.pairs, self.embeddings, *own]

    def further_steps(self, strengths: Mapping[str, float | None]) -> list[Step]:
        """Return the other seeds of the chosen strengths; a seed of every method before the next."""
        own = [self.trials[name][strength] for name, strength in strengths.items() if strength is not None]
        seeds = max(map(len, own), default=0)
        return [steps[number] for number in range(1, seeds) for steps in own if number < len(steps)]


def run(config: ArenaConfig, parent: mlflow_runs.Run | None = None) -> str | None:
    """Run the trainings that are not done and write the standings; return the text's place, None after a dry run."""
    plan = plan_arena(config)
    output = config.output.rstrip("/")
    root = f"{output}/steps"
    planned = step_plan.plan(plan.steps, root, config.force)
    if differences := step_plan.other_config(plan.pairs, root):
        print(f"arena: {config.output} has trainings of other pairs: {differences}; none of them is used here, and")
        print("page and tables there become those of these pairs; another --output keeps both")
    if config.dry_run:
        print(step_plan.describe(planned))
        print("of the seeds after the first, those of the strengths are run that the first one chooses")
        return None
    require_writable(config.output)
    with mlflow_runs.stage("arena", config, config.output, parent) as stage:
        _run_steps(config, planned, plan.first_steps, root, "arena, first seed")
        chosen = {name: chosen_strength(_trials(plan, name, root), plan.budget.k) for name in plan.trials}
        _run_steps(config, planned, plan.further_steps(chosen), root, "arena, further seeds")
        summary = _summary(config, plan, chosen, root)
        files = {
            SUMMARY_FILE: json.dumps(summary, indent=2, allow_nan=False).encode() + b"\n",
            TABLE_FILE: arena_parquet(summary),
            TEXT_FILE: arena_markdown(summary).encode(),
            PAGE_FILE: arena_page(summary).encode(),
        }
        write_files(files, output, stage)
        stage.metrics(
            {
                f"{method['name']}/{name.replace('%', '_percent')}".replace("@", "_at_"): found["mean"]
                for method in summary["methods"]
                for name, found in method["measures"].items()
                if found["mean"] is not None
            }
        )
    return f"{output}/{TEXT_FILE}"


def plan_arena(config: ArenaConfig) -> ArenaPlan:
    """Return what is to be run.

    Raises InputError for a method that there is not, a store that cannot be opened, and what drawing its pairs would
    refuse.
    """
    methods = _chosen_methods(config.methods)
    sizes = Sizes(config.train_pairs, config.validation_pairs, config.test_pairs, config.seed)
    drawn: StorePairs | MadePairs
    if config.known_cosine is None:
        store = EmbeddingStore.open(config.store)
        require_pairs(store)
        reference, reference_uri = _further(config.reference)
        transfer, transfer_uri = _further(config.transfer, "test")
        if reference == store.fingerprint:
            raise InputError(
                "reference and store are the same: a judge is another encoder's store of these pairs; without "
                "--reference the embeddings judge themselves, and the page says so"
            )
        uris = store.uri, reference_uri, transfer_uri
        drawn = StorePairs(store.fingerprint, sizes, config.labels, reference, transfer, *uris)
        require_drawable(drawn)
        dim, source = (
            max(store.manifest.modalities.values()),
            f"{without_secrets(config.store)}, {store.fingerprint[:12]}",
        )
        if transfer:
            source += f" (transfer: {without_secrets(config.transfer)}, {transfer[:12]})"
    else:
        pairs = config.train_pairs + config.validation_pairs + config.test_pairs
        made = SyntheticConfig(dim=config.known_dim, pairs=pairs, instance_cosine=config.known_cosine)
        drawn, dim = MadePairs(made, sizes), config.known_dim
        source = f"known atoms, τ₁ = {config.known_cosine:g}"
    budget = Budget(config.expansion * dim, config.k, config.epochs, config.batch_pairs, config.learning_rate)
    first = Step("pairs", draw_pairs, drawn)
    seeds = range(config.seed, config.seed + config.seeds)

    def steps(name: str, method: Method, strength: float) -> list[Step]:
        of_strength = f"{name}/strength-{number_text(strength)}" if len(method.strengths) > 1 else name
        return [
            Step(f"{of_strength}/seed-{seed}", run_trial, ArenaTrial(name, budget, strength, seed), {PAIRS: first})
            for seed in (seeds if method.sparse else seeds[:1])
        ]

    trials = {
        name: {strength: steps(name, method, strength) for strength in method.strengths}
        for name, method in methods.items()
    }
    return ArenaPlan(first, Step("embeddings", measure_embeddings, None, {PAIRS: first}), trials, budget, source)


def _further(uri: str, *splits: Split) -> tuple[str, str]:
    """Return fingerprint and whole URI of a further store, of which the arena needs these splits; nothing without."""
    if not uri:
        return "", ""
    store = EmbeddingStore.open(uri)
    require_pairs(store, splits)
    return store.fingerprint, store.uri


def _chosen_methods(names: Sequence[str]) -> dict[str, Method]:
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"there is no method {', '.join(unknown)}; the methods are {', '.join(METHODS)}")
    return {name: METHODS[name] for name in names or METHODS}


def _run_steps(config: ArenaConfig, planned: list[PlannedStep], steps: Sequence[Step], root: str, what: str) -> None:
    names = {step.name for step in steps}
    own = [item for item in planned if item.step.name in names]
    due = [item for item in own if item.due]
    print(f"{what}: {len(due)} of {len(own)} steps to run, in {config.output}")
    if not due:
        return
    if config.here:
        for item in tqdm(due, desc=what, unit=" steps"):
            step_plan.run_here([item], root)
        return
    from tune.arena_trials import run_trials  # without Ray, its libraries are not imported

    engine.connect()
    run_on_ray([item for item in own if item.step.function is not run_trial], root, "arena, pairs")
    run_trials([item for item in own if item.step.function is run_trial], root, what)


def _trials(plan: ArenaPlan, name: str, root: str, chosen: float | None = None) -> MethodTrials:
    """Return what is there of a method: the first seed of each strength, and all seeds of the chosen one."""
    method = METHODS[name]
    done = {strength: steps if strength == chosen else steps[:1] for strength, steps in plan.trials[name].items()}
    results = {strength: [step_plan.result(step, root) for step in steps] for strength, steps in done.items()}
    return MethodTrials(name, method.label, method.sparse, results)


def _summary(config: ArenaConfig, plan: ArenaPlan, chosen: Mapping[str, float | None], root: str) -> dict[str, Any]:
    trials = [_trials(plan, name, root, strength) for name, strength in chosen.items()]
    found = standings(trials, plan.budget.k)
    return {
        "config": asdict(config) | {name: without_secrets(getattr(config, name)) for name in _URIS},
        "source": plan.source,
        "reference": _judge(config, found["mms_rank_correlation"]),
        "budget": asdict(plan.budget),
        "seeds": config.seeds,
        "pairs": step_plan.result(plan.pairs, root),
        "embeddings": step_plan.result(plan.embeddings, root),
        **found,
    }


def _judge(config: ArenaConfig, rank_correlation: float | None) -> str:
    """Return who says what MMS is, and whether the embeddings themselves would rank the methods alike."""
    if config.known_cosine is None and not config.reference:
        return (
            "MMS is judged by the very embeddings that are coded, for want of a second encoder: no independent judge."
        )
    centred = f"{without_secrets(config.reference)}, each modality's rows less their mean over the train pairs"
    judge = centred if config.reference else "the concepts that pairs are made of"
    if rank_correlation is None:
        return f"MMS is judged by {judge}."
    return (
        f"MMS is judged by {judge}; the very embeddings that are coded would rank the methods with a Spearman "
        f"correlation of {rank_correlation:.2f} to that."
    )


def start(config: ArenaConfig) -> None:
    """Run the arena and print its tables, and where its page is."""
    file = run(config)
    if file is not None:
        filesystem, path = open_filesystem(file)
        print(filesystem.cat_file(path).decode())
        print(f"page  {config.output.rstrip('/')}/{PAGE_FILE}")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
