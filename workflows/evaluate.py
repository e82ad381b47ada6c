"""`isoenergy evaluate`: the graph of steps that measures sparse autoencoders on held-out pairs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.evaluation import (
    OriginalConfig,
    PartConfig,
    SampleConfig,
    StoreReference,
    encode_part,
    measure_geometry,
    measure_original,
    measure_retrieval,
    merge_parts,
)
from isoenergy.exemplars import ExemplarConfig, write_exemplars, write_projection
from isoenergy.files import absolute_uri, write_atomically
from isoenergy.pairs.splits import Split
from isoenergy.sae import SparseAutoencoder
from isoenergy.sharing import HUB
from isoenergy.store import EmbeddingStore
from workflows import engine, steps, tracking
from workflows.command import run_command
from workflows.ray_steps import run_on_ray
from workflows.steps import Step

SUMMARY_FILE = "evaluation.json"
_UNITS_PER_PART = 16


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure SAEs on held-out pairs, side by side. Steps that are done are not done again."""

    store: str
    """Embedding store that `isoenergy embed` made."""
    saes: tuple[str, ...]
    """SAEs that `isoenergy train` made: folders, fsspec URLs or hf:ORG/NAME; they may come from another store."""
    output: Path = Path("runs/evaluation")
    """Folder for the steps and the summary; all nodes must see it."""
    split: Split = "test"
    """Pairs to measure on."""
    sample: int = 2000
    """Pairs, drawn at random, for optimal transport (its cost grows with the square) and for p_acc."""
    seed: int = 0
    """Decides the sub-sample."""
    force: tuple[str, ...] = ()
    """Steps to do again, with all that follows from them."""
    dry_run: bool = False
    """Print the plan and stop."""

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise InputError(f"sample must be at least 1, got {self.sample}")
        if not self.saes:
            raise InputError("saes must name at least one folder with an SAE")


@dataclass(frozen=True)
class _SaeSteps:
    """The steps of one SAE."""

    statistics: Step
    geometry: Step
    retrieval: Step
    exemplars: Step
    projection: Step


def run(config: EvaluateConfig, parent: tracking.Run | None = None) -> Path | None:
    """Run what is not done and write `evaluation.json`; return its path, or None after a dry run."""
    store = EmbeddingStore.open(config.store)
    store.require_complete()
    if not store.pairs_in(config.split):
        raise InputError(f"{config.store} has no pairs in its {config.split} split; embed more pairs")
    saes = {folder: SparseAutoencoder.load(folder) for folder in config.saes}
    for folder, sae in saes.items():
        if sae.config.dim != store.manifest.dim:
            raise InputError(
                f"{folder} is for embeddings of width {sae.config.dim}, but {config.store} has {store.manifest.dim}"
            )
    reference = StoreReference(store.uri, store.fingerprint, config.split)
    original = Step("original", measure_original, OriginalConfig(reference, config.sample, config.seed))
    by_sae = {place: _sae_steps(place, sae, store, reference, config) for place, sae in saes.items()}
    root = config.output / "steps"
    planned = steps.plan(
        [original, *(step for parts in by_sae.values() for step in vars(parts).values())], root, config.force
    )
    if config.dry_run:
        print(steps.describe(planned))
        return None
    _require_writable(config.output)
    print(f"evaluate: {sum(item.due for item in planned)} of {len(planned)} steps to run, in {config.output}")
    with tracking.stage("evaluate", config, str(config.output), parent) as stage:
        if any(item.due for item in planned):
            engine.connect()
            run_on_ray(planned, root, "evaluate")
        summary = _summary(config, store, saes, original, by_sae, root)
        file = config.output / SUMMARY_FILE
        write_atomically(LocalFileSystem(), str(file.absolute()), (json.dumps(summary, indent=2) + "\n").encode())
        stage.metrics(dict(_numbers(summary["original"], "original/")))
        for sae in summary["saes"]:
            stage.metrics(dict(_numbers(sae["results"], f"{sae['name']}/")))
        stage.tags(
            {"store_fingerprint": store.fingerprint, **{f"sae/{s['name']}": s["digest"] for s in summary["saes"]}}
        )
        stage.artifact(file)
    return file


def _sae_steps(
    place: str, sae: SparseAutoencoder, store: EmbeddingStore, reference: StoreReference, config: EvaluateConfig
) -> _SaeSteps:
    digest, place = sae.digest, place if place.startswith(HUB) else absolute_uri(place)
    name = f"{_name(place)}-{digest[:6]}"
    units = [record.unit for record in store.commits]
    parts = {
        f"part-{start // _UNITS_PER_PART:05d}": Step(
            f"{name}/codes/{start // _UNITS_PER_PART:05d}",
            encode_part,
            PartConfig(reference, tuple(units[start : start + _UNITS_PER_PART]), place, digest, config.seed),
        )
        for start in range(0, len(units), _UNITS_PER_PART)
    }
    statistics = Step(f"{name}/statistics", merge_parts, None, parts)
    inputs = {"statistics": statistics, **parts}
    sample = SampleConfig(reference, place, digest, config.sample, config.seed)
    return _SaeSteps(
        statistics=statistics,
        geometry=Step(f"{name}/geometry", measure_geometry, sample, inputs),
        retrieval=Step(f"{name}/retrieval", measure_retrieval, sample, inputs),
        exemplars=Step(f"{name}/exemplars", write_exemplars, ExemplarConfig(sample), inputs),
        projection=Step(f"{name}/projection", write_projection, sample, inputs),
    )


def _summary(
    config: EvaluateConfig,
    store: EmbeddingStore,
    saes: dict[str, SparseAutoencoder],
    original: Step,
    by_sae: dict[str, _SaeSteps],
    root: Path,
) -> dict[str, Any]:
    """Gather the steps' results, and where the report finds the rest; paths are relative to the evaluation."""
    return {
        "store": {
            "uri": store.uri,
            "fingerprint": store.fingerprint,
            "encoder": store.manifest.encoder,
            "source": asdict(store.manifest.source_config),
            "dim": store.manifest.dim,
            "pairs_in": store.rows_in,
            "embedded": len(store),
            "rejected": store.rejected,
        },
        "split": config.split,
        "seed": config.seed,
        "original": steps.result(original, root),
        "saes": [
            {
                "name": _name(folder),
                "digest": sae.digest,
                "config": asdict(sae.config),
                "results": {
                    **steps.result(by_sae[folder].statistics, root),
                    "geometry": steps.result(by_sae[folder].geometry, root),
                    "retrieval": steps.result(by_sae[folder].retrieval, root),
                },
                "exemplars": str(by_sae[folder].exemplars.folder(root).relative_to(config.output)),
                "projection": str(by_sae[folder].projection.folder(root).relative_to(config.output)),
            }
            for folder, sae in saes.items()
        ],
    }


def _name(place: str) -> str:
    return place.rstrip("/").rsplit("/", 1)[-1]


def _numbers(results: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    """Flatten nested results to MLflow metrics."""
    flat: list[tuple[str, float]] = []
    for name, value in results.items():
        if isinstance(value, dict):
            flat += _numbers(value, f"{prefix}{name}/")
        else:
            flat.append((f"{prefix}{name}", float(value)))
    return flat


def _require_writable(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(LocalFileSystem(), str((output / ".writable").absolute()), b"")
        (output / ".writable").unlink()
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output folder that can") from error


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and evaluate."""
    file = run(tyro.cli(EvaluateConfig, args=arguments, prog="isoenergy evaluate"))
    if file is not None:
        print(file)


if __name__ == "__main__":
    run_command(main)
