"""Evaluations of two modalities of different widths, and of three, whose atoms are planted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from isoenergy.errors import InputError
from isoenergy.evaluation.modalities.modality_energies import ModalitySums
from isoenergy.report.page.page import write_report
from isoenergy.sae.joint import Autoencoder, build_autoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import poisson_weights
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, run_steps_here
from workflows.training.vector_stores import store_of

Sets = Sequence[str]
TWO = ({"vision": 16, "language": 20}, ["vision+language"] * 4 + ["vision"] * 2 + ["language"] * 2)
THREE = ({"sight": 16, "sound": 16, "words": 16}, ["sight+sound+words"] * 3 + ["sight+sound", "sound+words", "words"])
ROWS = 900


def planted(folder: Path, widths: Mapping[str, int], sets: Sets, own: bool) -> tuple[Path, Path]:
    """Write vectors made of orthogonal atoms, each of some modalities, and the SAE that has these atoms."""
    generator = np.random.default_rng(0)
    active = (generator.random((ROWS, len(sets))) < 0.4) * generator.uniform(0.5, 1.5, (ROWS, len(sets)))
    active[:, 0] += 0.2
    config = SaeConfig(
        dim=sum(widths.values()) if own else max(widths.values()),
        atoms=len(sets) + 1,
        k=len(sets),
        beta=0.0,
        modalities=tuple(widths),
        widths=tuple(widths.values()) if own else (),
    )
    sae: Autoencoder = build_autoencoder(config)
    columns: dict[str, Any] = {"caption": [f"row {row}" for row in range(ROWS)]}
    for number, (name, width) in enumerate(widths.items()):
        basis = np.linalg.qr(np.random.default_rng(number if own else 9).normal(size=(width, width)))[0]
        atoms = basis[: len(sets)]
        with torch.no_grad():
            sae.part(name).dictionary.copy_(torch.from_numpy(basis[: len(sets) + 1]))
        rows = (active * [name in its.split("+") for its in sets]) @ atoms
        rows += 0.02 * generator.normal(size=(ROWS, len(sets))) @ atoms
        columns[name] = pa.FixedSizeListArray.from_arrays(rows.astype(np.float32).ravel(), width)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "vectors.parquet")
    sae.save(folder / "sae")
    return folder / "vectors.parquet", folder / "sae"


@pytest.fixture(scope="module", params=["two widths", "three"])
def evaluation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    own = request.param == "two widths"
    widths, sets = TWO if own else THREE
    folder = tmp_path_factory.mktemp("modalities")
    vectors, sae = planted(folder, widths, sets, own)
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_steps_here(monkeypatch)
        summary = evaluated(vectors, [sae], folder / "evaluation", sample=40, in_batches=80, queries=60, part_pairs=40)
    return widths, sets, folder, summary


def test_the_modalities_that_share_each_atom_are_found(evaluation: Any) -> None:
    _, sets, folder, summary = evaluation
    (sae,) = summary["saes"]
    atoms = pq.read_table(folder / "evaluation" / sae["atoms"] / "atoms.parquet").to_pylist()
    assert [atom["modalities"] for atom in atoms[: len(sets)]] == list(sets)
    classes = sae["results"]["classes"]
    assert all(classes[name]["atoms"] >= list(sets).count(name) for name in sets)
    total = sum(found["energy_share"]["value"] for found in classes.values())
    assert total == pytest.approx(1)
    shared = sum(found["energy_share"]["value"] for name, found in classes.items() if "+" in name)
    interval = sae["results"]["shared_energy_share"]
    assert interval["value"] == pytest.approx(shared)
    assert interval["low"] <= interval["value"] <= interval["high"]


def test_shared_atoms_retrieve_and_the_rest_does_not(evaluation: Any) -> None:
    widths, _, _, summary = evaluation
    (sae,) = summary["saes"]
    for pair, found in sae["results"]["retrieval"].items():
        one, other = pair.split("~")
        assert found["shared"]["r1"]["value"] > 0.3 > 3 * found["unshared"]["r1"]["value"], pair
        assert found["pair_code_cosine"]["low"] > found["shuffled_code_cosine"]["high"]
        assert (pair in summary["vectors"]["between"]) == (widths[one] == widths[other])
    assert all(value["value"] > 0.9 for value in sae["results"]["r2_by_modality"].values())
    assert "p_acc" in sae["not_defined"]


def test_the_page_names_the_modalities_and_what_is_not_defined(evaluation: Any) -> None:
    widths, sets, folder, _ = evaluation
    page, *beside = write_report(str(folder / "evaluation" / "evaluation.json"), str(folder / "report.html"))
    text = Path(page).read_text()
    for said in (*widths, *sets, "Not defined here", "p_acc", "row 1"):
        assert said in text
    shown = text.split("<body>")[1].split("How this was made")[0]
    assert "image" not in shown.replace("data:image", "").replace("image/svg", "")
    assert any(file.endswith("ternary.svg") for file in beside) == (len(widths) == 3)


@pytest.mark.usefixtures("undrawn")
def test_its_tables_have_the_numbers_with_their_bounds(evaluation: Any) -> None:
    widths, sets, folder, summary = evaluation
    write_report(str(folder / "evaluation" / "evaluation.json"), str(folder / "report.html"))
    (sae,) = summary["saes"]
    names = ("measures", "modalities-of-atoms", "equal-energy", "retrieval", f"atoms-{sae['name']}")
    tables = {name: pq.read_table(folder / "tables" / f"{name}.parquet").to_pylist() for name in names}
    assert {file.name for file in (folder / "tables").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("csv", "parquet")
    }
    (measures,) = tables["measures"]
    assert [measures[f"r2_{end}"] for end in ("low", "high")] == [sae["results"]["r2"][end] for end in ("low", "high")]
    assert {f"r2_of_{name}" for name in widths} < measures.keys()
    shares = {row["modalities"]: row["energy_share"] for row in tables["modalities-of-atoms"]}
    assert shares.keys() >= set(sets)
    assert sum(shares.values()) == pytest.approx(1)
    found = {(row["sae"], row["atoms"], row["between"]): row["r1"] for row in tables["retrieval"]}
    for between, expected in sae["results"]["retrieval"].items():
        assert found[sae["name"], "shared", between] == expected["shared"]["r1"]["value"]
    assert len(found) == 3 * len(sae["results"]["retrieval"]) + len(summary["vectors"]["between"])


def test_an_sae_for_other_modalities_is_refused(evaluation: Any, tmp_path: Path) -> None:
    _, _, folder, _ = evaluation
    vectors, sae = planted(tmp_path, {"a": 20, "b": 24}, ["a+b"] * 3, own=True)
    with pytest.raises(InputError, match=r"sae is for .*of width 16, .*, but .*store has a of width 20, b of width 24"):
        evaluated(vectors, [folder / "sae"], tmp_path / "evaluation")
    assert evaluated(vectors, [sae], tmp_path / "evaluation", part_pairs=500)["saes"][0]["results"]["atoms"] == 4


def test_sums_of_two_halves_are_those_of_the_whole(tmp_path: Path) -> None:
    vectors, place = planted(tmp_path, *TWO, own=True)
    del place
    store = EmbeddingStore.open(str(store_of(str(vectors), "", str(tmp_path))))
    rows = {
        name: torch.from_numpy(part.copy()) for name, part in store.read_unit_vectors(store.commits[0].unit).items()
    }
    sae = build_autoencoder(SaeConfig(36, 9, 4, 0.0, modalities=tuple(rows), widths=(16, 20)))
    weights = poisson_weights(ROWS, 5, 0)

    def sums(chosen: slice) -> ModalitySums:
        found = ModalitySums.zeros(2, 9, 5)
        with torch.no_grad():
            x = {name: sae.prepare(part[chosen], name) for name, part in rows.items()}
            found.update({name: sae.part(name).encode(part) for name, part in x.items()}, x, weights[chosen])
        return found

    whole, halves = sums(slice(None)), sums(slice(400)).merge(sums(slice(400, None)))
    for name, value in vars(whole).items():
        np.testing.assert_allclose(value, vars(halves)[name], err_msg=name)
