"""`isoenergy inspect`: what an embedding store holds, and whether it is sound."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations

import numpy as np
from tqdm import tqdm

from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.storage.files import last_part, open_filesystem
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.verification import faults
from workflows.command import run_command
from workflows.settings.inspect_settings import InspectConfig, parse

_PAIRS_FOR_NORMS = 20_000
_FILES_AT_ONCE = 8
_SHOWN_FAULTS = 20
_LONGEST_TEXT = 60


def run(config: InspectConfig) -> str:
    """Return the text. Raises InputError if there is no store, or `verify` finds it spoilt."""
    if config.samples < 0:
        raise InputError(f"samples must be 0 or more, got {config.samples}")
    if config.repair and not config.verify:
        raise InputError("--repair repairs what --verify finds; give both")
    store = _opened(config.store)
    verified = [_verified(store, config.repair)] if config.verify else []
    return "\n".join([*_made(store), *_counted(store), *_measured(store, config.samples), *verified])


def _opened(uri: str) -> EmbeddingStore:
    try:
        return EmbeddingStore.open(uri)
    except InputError as error:
        if stores := _stores_in(uri):
            raise InputError(
                f"{uri} is not an embedding store but a folder that holds some; inspect one of them: "
                f"{', '.join(stores)}"
            ) from error
        raise


def _stores_in(uri: str) -> list[str]:
    """Return the stores in a folder, as a run with several encoders leaves them there."""
    filesystem, root = open_filesystem(uri)
    if not filesystem.isdir(root) or filesystem.isfile(f"{root}/manifest.json"):
        return []
    names = sorted(last_part(path) for path in filesystem.ls(root, detail=False))
    return [f"{uri.rstrip('/')}/{name}" for name in names if filesystem.isfile(f"{root}/{name}/manifest.json")]


def _made(store: EmbeddingStore) -> Iterator[str]:
    manifest = store.manifest
    yield f"store        {store.uri}, format {manifest.format}"
    if manifest.encoder:
        yield f"encoder      {manifest.encoder}, {manifest.dim} dimensions, computed in {manifest.precision}"
        yield f"  weights    {manifest.encoder_digest}"
        yield f"  pixels     {json.dumps(manifest.preprocessing)}"
        if manifest.hidden_states:
            yield f"  read       {json.dumps(manifest.hidden_states)}"
    else:
        yield f"vectors      {', '.join(f'{name} of {width} dimensions' for name, width in manifest.widths.items())}"
    yield f"stored       {manifest.dtype}, {sum(record.shard_bytes for record in store.commits):,} bytes in shards"
    if manifest.view_of:
        yield f"  a view     vectors stay in {manifest.view_of}"
    images = f", images in {manifest.source_images}" if manifest.source_images else ""
    yield f"source       {manifest.source}, {manifest.source_format}{images}"
    yield f"  passes     {', '.join(f'{name} {kind}' for name, kind in manifest.passed_through.items()) or 'nothing'}"
    yield f"made with    {', '.join(f'{name} {number}' for name, number in manifest.software.items())}"


def _counted(store: EmbeddingStore) -> Iterator[str]:
    units = store.manifest.units
    missing = units - len(store.commits)
    yield f"units        {len(store.commits):,} of {units:,}" + f"; {missing:,} are not embedded yet" * (missing > 0)
    splits = ", ".join(f"{store.pairs_in(split):,} {split}" for split in ("train", "validation", "test"))
    if len(store) == store.embedded:
        yield f"pairs        {store.rows_in:,} in, {store.embedded:,} embedded ({splits})"
    else:
        yield f"pairs        {store.rows_in:,} in, {store.embedded:,} embedded"
        yield f"rows         {len(store):,} of their tokens ({splits})"
    yield f"rejected     {sum(store.rejected.values()):,}"
    for reason, count in sorted(store.rejected.items(), key=lambda item: -item[1]):
        yield f"  {count:>9,}  {reason}"


def _measured(store: EmbeddingStore, samples: int) -> Iterator[str]:
    """Norms and the gap over the first pairs of units spread over the store."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in store.manifest.modalities}
    pairs = 0
    shown: list[dict[str, str]] = []
    places = np.random.default_rng(0).permutation(len(store.commits))
    for place in places:
        unit = store.commits[place].unit
        for name, rows in store.read_unit_vectors(unit).items():
            found[name].append(rows.astype(np.float32))
        pairs += store.commits[place].pairs_in("all")
        if len(shown) < samples:
            shown += store.read_unit(unit, ["key", "split", "caption"]).slice(0, samples - len(shown)).to_pylist()
        if pairs >= _PAIRS_FOR_NORMS:
            break
    if not pairs:
        return
    yield f"norms        of {min(pairs, _PAIRS_FOR_NORMS):,} pairs: lowest, mean, highest"
    units = {}
    for name, parts in found.items():
        rows = np.concatenate(parts)[:_PAIRS_FOR_NORMS]
        norms = np.linalg.norm(rows, axis=1)
        yield f"  {name:<9}  {norms.min():.3f}  {norms.mean():.3f}  {norms.max():.3f}"
        units[name] = rows / np.maximum(norms, 1e-12)[:, None]
    for (one, a), (other, b) in combinations(units.items(), 2):
        if a.shape[1] == b.shape[1]:
            gap, cosine = difference_in_means(a.mean(axis=0), b.mean(axis=0)), (a * b).sum(axis=1).mean()
            means = f"{gap:.3f} between the means of normalised {one} and {other}"
            yield f"gap          {means}; mean cosine of a pair {cosine:.3f}"
    for pair in shown:
        yield f"sample       {_short(pair['key'])} [{pair['split']}] {_short(pair['caption'])}"


def _short(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= _LONGEST_TEXT else f"{plain[: _LONGEST_TEXT - 1]}…"


def _verified(store: EmbeddingStore, repair: bool) -> str:
    writer = StoreWriter(store.uri)
    try:
        of_index = writer.index_faults()
        records = list(writer.records().values())
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            checked = tqdm(pool.map(partial(faults, store), records), "verify", len(records), unit=" units")
            spoilt = {record.unit: found for record, found in zip(records, checked, strict=True) if found}
    except OSError as error:
        raise InputError(f"{store.uri} cannot be read just now ({error}); nothing was changed: try again") from error
    whole = len(records) >= store.manifest.units  # else what a kill has left may lie there
    unnamed = [name for name in writer.unnamed() if whole or name.startswith("commits/")]
    if not spoilt and not unnamed and not of_index:
        return f"verified     {counted(len(records), 'unit')}, each as it was committed"
    found = [fault for unit in spoilt.values() for fault in unit] + of_index
    found += [f"{name} is not what a commit record names" for name in unnamed]
    more = f"; and {len(found) - _SHOWN_FAULTS} more" * (len(found) > _SHOWN_FAULTS)
    advice = "--repair takes out what is spoilt"
    if repair:
        writer.discard([*(f"commits/{unit}.json" for unit in spoilt), *unnamed])
        taken = f"{counted(len(spoilt), 'unit')}, {counted(len(unnamed), 'file')}"
        advice = f"taken out: {taken}; run the same `isoenergy embed` again"
        writer.fold()
        if not spoilt and not unnamed:
            advice = "it is made anew of the commit records: all is well now"
    raise InputError(f"{store.uri} is spoilt: {'; '.join(found[:_SHOWN_FAULTS])}{more}; {advice}")


def start(config: InspectConfig) -> None:
    """Print what the store holds."""
    print(run(config))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
