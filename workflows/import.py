"""`isoenergy import`: an embedding store of vectors that are there already."""

from isoenergy.errors import InputError
from isoenergy.pairs.places import place_of
from isoenergy.storage.files import absolute_uri, without_secrets
from isoenergy.store import EmbeddingStore
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from workflows.cluster.lock import alone_in
from workflows.command import run_command
from workflows.settings.import_settings import ImportConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import require_writable
from workflows.training.vector_stores import VectorCopy, modality_names, require_outside


def run(config: ImportConfig, parent: mlflow_runs.Run | None = None) -> EmbeddingStore | None:
    """Take what is missing; return the store, None if dry. Raises InputError for what holds no vectors."""
    if not holds_vectors(config.source):
        place_of(config.source)  # says what is not there
        raise InputError(
            f"{without_secrets(config.source)} holds no vectors, or is a store already; give Parquet or Arrow with "
            f"columns of vectors, .npy, .npz or safetensors; pairs of images and texts are for `isoenergy embed`"
        )
    require_outside(config.source, config.output)
    files = open_vectors(config.source, modality_names(config.modalities), config.key, config.captions)
    copy = VectorCopy(files.viewed() if config.view else files, absolute_uri(config.output), config.skip_bad_rows)
    if not config.dry_run:
        require_writable(config.output)
    print("\n".join(copy.plan()))
    if config.dry_run:
        return None
    tracked = mlflow_runs.stage("import", config, config.output, parent, is_done=copy.is_done)
    with alone_in(config.output), tracked as stage:
        store = EmbeddingStore.open(copy.store) if copy.is_done else copy.run()
        stage.metrics({"rows": store.rows_in, "rows_stored": len(store), "rows_left_out": store.rows_in - len(store)})
        stage.tags({"store_fingerprint": store.fingerprint})
        stage.dataset(store.uri, store.fingerprint, "output", store.manifest.source)
    splits = ", ".join(f"{store.pairs_in(split):,} {split}" for split in ("train", "validation", "test"))
    print(f"imported    {len(store):,} of {store.rows_in:,} rows: {splits}")
    return store


def start(config: ImportConfig) -> None:
    """Import, as the command line asks for."""
    run(config)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
