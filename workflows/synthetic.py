"""`isoenergy synthetic`: what SAEs recover of known atoms, over seeds, where Iso-Energy holds and where it does not."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.files import write_atomically
from isoenergy.recovery_experiment import RecoveryConfig, measure_recovery
from isoenergy.report.figures import as_bytes
from isoenergy.report.recovery_figures import recovery_by_beta
from isoenergy.report.recovery_table import markdown, summarise
from isoenergy.store.order import require_batches
from isoenergy.synthetic import SyntheticConfig
from workflows import engine, steps, tracking
from workflows.command import run_command
from workflows.ray_steps import run_on_ray
from workflows.steps import Step

SUMMARY_FILE = "synthetic.json"
TABLE_FILE = "synthetic.md"
FIGURE_FILE = "synthetic.png"


@dataclass(frozen=True)
class SyntheticTableConfig:
    """Train SAEs on pairs made of known atoms and measure what they recover. Seeds that are done are not done again."""

    output: Path = Path("runs/synthetic")
    """Folder for the seeds' results, the table and the figure; all nodes must see it."""
    seeds: int = 10
    """Draws of atoms, pairs and initialisation for each τ₁; each is a task on one CPU."""
    seed: int = 0
    """The first seed; the others count on from it."""
    instance_cosines: tuple[float, ...] = (0.99, 0.5)
    """τ₁: cosines between the image and the text instance of a concept. Near 1 Iso-Energy holds; at 0.5 a concept is
    two atoms, and an atom that fires in both modalities is made up."""
    betas: tuple[float, ...] = (0.0, 5e-5, 5e-4)
    """Weights of the alignment term, an SAE each; those of a seed share pairs, order and initialisation."""
    pair_cosine: float = 0.4
    """τ₂: cosine between the image and the text of every pair."""
    pairs: int = 10_000
    """Pairs a seed."""
    dim: int = 512
    """Width of the embeddings."""
    instances: int = 100
    """True atoms: 10 % image biases, 10 % text biases, and an image and a text instance for each concept."""
    atoms: int = 140
    """Atoms of the learned dictionaries."""
    k: int = 10
    """Atoms in a row, true and learned."""
    epochs: int = 500
    """Passes over the pairs."""
    batch_pairs: int = 512
    """Pairs in a step."""
    learning_rate: float = 5e-4
    """Highest rate of the OneCycle schedule."""
    force: tuple[str, ...] = ()
    """Seeds to do again, by name: see --dry-run."""
    dry_run: bool = False
    """Print what would be run and stop."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1, got {self.seeds}")
        for name in ("instance_cosines", "betas"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(f"{name} must be one or more different numbers, got {values}")
        require_batches(self.pairs, self.batch_pairs, 1)

    def experiment(self, instance_cosine: float, seed: int) -> RecoveryConfig:
        """Return what one seed does."""
        return RecoveryConfig(
            data=SyntheticConfig(
                dim=self.dim,
                instances=self.instances,
                atoms_per_row=self.k,
                pairs=self.pairs,
                instance_cosine=instance_cosine,
                pair_cosine=self.pair_cosine,
            ),
            seed=seed,
            betas=self.betas,
            atoms=self.atoms,
            k=self.k,
            epochs=self.epochs,
            batch_pairs=self.batch_pairs,
            learning_rate=self.learning_rate,
        )


def run(config: SyntheticTableConfig, parent: tracking.Run | None = None) -> Path | None:
    """Run the seeds that are not done and write the table; return its path, or None after a dry run."""
    by_cosine = {
        cosine: [
            Step(f"tau-{cosine:g}/seed-{seed}", measure_recovery, config.experiment(cosine, seed))
            for seed in range(config.seed, config.seed + config.seeds)
        ]
        for cosine in config.instance_cosines
    }
    root = config.output / "steps"
    # by seed, not by τ₁: what is there after an interruption is as good for every τ₁
    planned = steps.plan([step for seed in zip(*by_cosine.values(), strict=True) for step in seed], root, config.force)
    if config.dry_run:
        print(steps.describe(planned))
        return None
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{config.output} cannot be written ({error}); give an output folder that can") from error
    print(f"synthetic: {sum(item.due for item in planned)} of {len(planned)} seeds to run, in {config.output}")
    with tracking.stage("synthetic", config, str(config.output), parent) as stage:
        if any(item.due for item in planned):
            engine.connect()
            run_on_ray(planned, root, "synthetic")
        summary = summarise({c: [steps.result(step, root) for step in seeds] for c, seeds in by_cosine.items()})
        files = {
            SUMMARY_FILE: json.dumps({"config": asdict(config), **summary}, indent=2, default=str).encode() + b"\n",
            TABLE_FILE: markdown(summary).encode(),
            FIGURE_FILE: as_bytes(recovery_by_beta(summary), "png"),
        }
        for name, data in files.items():
            write_atomically(LocalFileSystem(), str((config.output / name).absolute()), data)
            stage.artifact(config.output / name)
        for cell in summary["cells"]:
            place = f"tau-{cell['instance_cosine']:g}/beta-{cell['beta']:g}"
            stage.metrics({f"{place}/{name}": value["mean"] for name, value in cell["metrics"].items()})
    return config.output / TABLE_FILE


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the table."""
    file = run(tyro.cli(SyntheticTableConfig, args=arguments, prog="isoenergy synthetic"))
    if file is not None:
        print(file.read_text())
        print(file)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
