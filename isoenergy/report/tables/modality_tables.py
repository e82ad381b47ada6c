"""The tables of an evaluation of any number of modalities, for whoever goes on with the numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from isoenergy.report.saes import Sae
from isoenergy.report.tables.table_files import Row, as_table, bounded

_KINDS = ("all", "shared", "unshared")
_RECALLS = ("r1", "r5", "r10")
_COSINES = ("pair_code_cosine", "shuffled_code_cosine")


def modality_tables(summary: Mapping[str, Any], atoms: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return the tables by name; atoms: a table of the atoms of each SAE, by the SAE's name."""
    saes = summary["saes"]
    return {
        "measures": as_table(_measures(saes)),
        "modalities-of-atoms": as_table(_classes(saes)),
        "equal-energy": as_table(_equal_energy(saes)),
        "retrieval": as_table(_retrieval(summary["vectors"]["between"], saes)),
        **({"stability": as_table(_stability(summary["stability"]))} if summary["stability"] else {}),
        **{f"atoms-{name}": table for name, table in atoms.items()},
    }


def _measures(saes: Sequence[Sae]) -> Iterable[Row]:
    for sae in saes:
        results, config = sae["results"], sae["config"]
        row: Row = {"sae": sae["name"], **{name: config[name] for name in ("beta", "atoms", "k")}}
        row |= {"dead_atoms": results["dead_atoms"], "always_on_energy_share": results["always_on_energy_share"]}
        for name in ("r2", "shared_energy_share", "entropy"):
            row |= bounded(name, results[name])
        for modality, interval in results["r2_by_modality"].items():
            row |= bounded(f"r2_of_{modality}", interval)
        yield row | {f"l0_of_{modality}": mean for modality, mean in results["l0_by_modality"].items()}


def _classes(saes: Sequence[Sae]) -> Iterable[Row]:
    for sae in saes:
        for name, found in sae["results"]["classes"].items():
            row = {"sae": sae["name"], "modalities": name, "atoms": found["atoms"]}
            yield row | bounded("energy_share", found["energy_share"])


def _equal_energy(saes: Sequence[Sae]) -> Iterable[Row]:
    for sae in saes:
        for between, found in sae["results"]["equal_energy"].items():
            yield {"sae": sae["name"], "between": between, **found}


def _retrieval(vectors: Mapping[str, Any], saes: Sequence[Sae]) -> Iterable[Row]:
    for between, found in vectors.items():
        row = {"sae": None, "atoms": None, "between": between} | _recalls(found)
        yield row | bounded("difference_in_means", found["difference_in_means"])
    for sae in saes:
        for between, found in sae["results"]["retrieval"].items():
            for kind in _KINDS:
                row = {"sae": sae["name"], "atoms": kind, "between": between} | _recalls(found[kind])
                for name in _COSINES if kind == "all" else ():
                    row |= bounded(name, found[name])
                yield row


def _recalls(found: Mapping[str, Any]) -> Row:
    row: Row = {}
    for rank in _RECALLS:
        row |= bounded(rank, found[rank])
    return row


def _stability(pairs: Sequence[Mapping[str, Any]]) -> Iterable[Row]:
    for pair in pairs:
        for modality, found in pair["by_modality"].items():
            yield {"first": pair["first"], "second": pair["second"], "modality": modality, **found}
