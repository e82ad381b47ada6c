"""Each method finds a dictionary that it can find, and fails where it must; losses against plain computations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.methods.baselines import fit_canonical, fit_centred, fit_components
from isoenergy.arena.methods.configured import fit_configured
from isoenergy.arena.methods.cosae import CoSae, fit_cosae, sliced_distance
from isoenergy.arena.methods.group_masked import GroupMasked, fit_group_masked, group_norm
from isoenergy.arena.methods.matched import fit_matched
from isoenergy.arena.methods.matryoshka import Matryoshka, fit_matryoshka
from isoenergy.arena.methods.sparc import Sparc, fit_sparc
from isoenergy.arena.methods.vl_sae import VlSae, fit_vl_sae
from isoenergy.arena.pair_training import top_k
from isoenergy.arena.pairs import Rows
from isoenergy.arena.roster import METHODS
from isoenergy.errors import InputError
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder, TopK
from tests.arena.planted_rows import joined, orthogonal, planted_rows, recovered

CONCEPTS, DIM = 10, 24
LONG = Budget(atoms=12, k=2, epochs=40, batch_pairs=64, learning_rate=1e-2)
SHORT = Budget(atoms=12, k=2, epochs=2, batch_pairs=64, learning_rate=1e-2)
SAME = orthogonal(CONCEPTS, DIM)
TWO = orthogonal(2 * CONCEPTS, DIM)
SHARED = planted_rows(SAME, SAME, 512, active=2)
APART = planted_rows(TWO[:CONCEPTS], TWO[CONCEPTS:], 512, active=2)
"""Every concept has two orthogonal directions, one a modality: no one direction is near both."""

NO_PAIRS = replace(APART, text=APART.text[torch.randperm(512, generator=torch.Generator().manual_seed(1))])
"""The same rows; an image and its text have nothing in common."""


def overlap(fitted: FittedMethod, rows: Rows) -> float:
    """Of the atoms that fire in a pair's image or in its text, the share that fire in both."""
    image, text = (fitted.encode(rows.of(name), name) > 0 for name in ("image", "text"))
    return float((image & text).sum() / (image | text).sum())


@pytest.mark.parametrize(
    "name",
    [
        *("sae", "sae-top-k", "sae-batch-top-k", "sae-a", "sae-a-cosine", "sae-a-bias", "iso-energy"),
        *("sae-top-k-offsets", "group-sparse", "group-masked", "group-masked-relu"),
        *("matryoshka", "matryoshka-dictionaries", "cosae", "sparc"),
        *("matched", "matched-half", "matched-centred", "matched-top-k", "matched-top-k-centred"),
    ],
)
def test_a_planted_dictionary_is_found(name: str) -> None:
    method = METHODS[name]
    budget = replace(LONG, atoms=2 * LONG.atoms) if name == "matched-half" else LONG
    fitted = method.fit(SHARED, budget, method.strengths[0], 0)
    for modality in ("image", "text"):
        assert recovered(fitted.dictionaries[modality], SAME) >= 0.7, modality


@pytest.mark.parametrize("encoder", [MatchingPursuit(), TopK()], ids=["pursuit", "top-k"])
def test_one_dictionary_cannot_join_directions_that_are_apart_and_matching_can(encoder: SparseEncoder) -> None:
    true = TWO[:CONCEPTS], TWO[CONCEPTS:]
    shared = fit_configured(APART, LONG, 0.0, 0, sparse_encoder=encoder)
    assert shared.shared
    assert joined(shared.dictionaries["image"], shared.dictionaries["text"], *true) == 0
    apart = fit_matched(APART, LONG, 0.0, 0, sparse_encoder=encoder)
    assert not apart.shared
    assert joined(apart.dictionaries["image"], apart.dictionaries["text"], *true) >= 0.7


@pytest.mark.parametrize(
    "name",
    [
        *("sae", "sae-batch-top-k", "sae-a", "iso-energy"),
        *("group-masked", "matryoshka", "matryoshka-dictionaries"),
    ],
)
def test_one_dictionary_gives_partners_no_code_in_common_where_directions_are_apart(name: str) -> None:
    method = METHODS[name]
    fitted = method.fit(APART, replace(LONG, atoms=2 * CONCEPTS), method.strengths[0], 0)
    assert overlap(fitted, APART) < 0.2


@pytest.mark.parametrize("encoder", [MatchingPursuit(), TopK()], ids=["pursuit", "top-k"])
def test_matching_fails_on_pairs_that_are_no_pairs(encoder: SparseEncoder) -> None:
    fitted = fit_matched(NO_PAIRS, LONG, 0.0, 0, sparse_encoder=encoder)
    found = joined(fitted.dictionaries["image"], fitted.dictionaries["text"], TWO[:CONCEPTS], TWO[CONCEPTS:])
    assert found <= 0.5


@pytest.mark.parametrize("fit", [fit_sparc, fit_cosae])
def test_streams_that_are_coupled_give_partners_one_code(fit) -> None:  # type: ignore[no-untyped-def]
    coupled, alone = (fit(APART, LONG, strength, 0) for strength in (1.0, 0.0))
    assert overlap(coupled, APART) > 0.8
    if fit is fit_cosae:  # SPARC chooses one set of atoms for a pair at any strength
        assert overlap(alone, APART) < 0.4
    rebuilt = coupled.decode(coupled.encode(APART.image, "image"), "text")
    assert float((APART.text - rebuilt).square().sum(1).mean()) < 0.25


def test_sparc_finds_either_dictionary_from_pairs_and_neither_where_partners_share_nothing() -> None:
    """It chooses k atoms for a pair, whose concepts then are 2k; SAEs that are trained apart do not see partners."""

    def found(fitted: FittedMethod) -> list[float]:
        true = {"image": TWO[:CONCEPTS], "text": TWO[CONCEPTS:]}
        return [recovered(fitted.dictionaries[name], atoms) for name, atoms in true.items()]

    assert min(found(fit_sparc(APART, LONG, 1.0, 0))) >= 0.8
    assert max(found(fit_sparc(NO_PAIRS, LONG, 1.0, 0))) <= 0.6
    assert min(found(fit_matched(NO_PAIRS, LONG, 0.0, 0))) >= 0.8


def test_vl_sae_codes_both_modalities_with_the_nearest_rows() -> None:
    model = VlSae(DIM, SHORT, 0)
    unit = model.encoder / model.encoder.norm(dim=1, keepdim=True)
    distances = torch.cdist(SHARED.image, unit)
    codes = model.codes(SHARED.image)
    expected = torch.zeros_like(distances)
    for row, distance in enumerate(distances):
        for atom in distance.argsort()[: SHORT.k]:
            expected[row, atom] = 2 - distance[atom]
    torch.testing.assert_close(codes, expected, rtol=0, atol=1e-3)
    fitted = fit_vl_sae(SHARED, LONG, 0.0, 0)
    error = (SHARED.image - fitted.decode(fitted.encode(SHARED.image, "image"), "image")).square().sum(1).mean()
    assert float(error) < 0.5
    # where texts are the negative images no row is near both: partners get different codes, as one encoder must give
    opposite = planted_rows(SAME, -SAME, 512, active=2)
    fitted = fit_vl_sae(opposite, LONG, 0.0, 0)
    image, text = fitted.encode(opposite.image, "image") > 0, fitted.encode(opposite.text, "text") > 0
    assert float((image & text).double().sum() / image.sum()) < 0.2


def test_group_loss_is_that_of_its_definition() -> None:
    model = GroupMasked(DIM, SHORT, strength=0.3, hidden=0.0, sparsity="top-k", seed=0)
    image, text = SHARED.image[:3], SHARED.text[:3]
    total = 0.0
    for x, y in zip(image, text, strict=True):
        z, w = (torch.zeros(12) for _ in range(2))
        for code, row in ((z, x), (w, y)):
            scores = (model.encoder @ row).detach()
            for atom in scores.argsort(descending=True)[:2]:
                code[atom] = max(float(scores[atom]), 0.0)
        errors = ((x - z @ model.decoder) ** 2).sum() + ((y - w @ model.decoder) ** 2).sum()
        total += float(errors.detach()) + 0.3 * sum(
            math.hypot(a, b) for a, b in zip(z.tolist(), w.tolist(), strict=True)
        )
    assert float(model.loss(image, text)) == pytest.approx(total / 3, rel=1e-5)


def test_a_mask_hides_the_same_atoms_from_both() -> None:
    model = GroupMasked(DIM, SHORT, strength=0.0, hidden=0.5, sparsity="relu", seed=0)
    mask = torch.zeros(len(SHARED), 12, dtype=torch.bool)
    mask[:, :4] = True
    for modality in ("image", "text"):
        assert not model.codes(SHARED.of(modality), modality, mask)[:, 4:].any()
        assert model.codes(SHARED.of(modality), modality)[:, 4:].any()


def test_the_group_penalty_is_paid_for_by_reconstruction() -> None:
    norms, errors = [], []
    for strength in (0.0, 0.5):
        fitted = fit_group_masked(APART, LONG, strength, 0, hidden=0.0)
        codes = {name: fitted.encode(APART.of(name), name) for name in ("image", "text")}
        norms.append(float(group_norm(codes["image"], codes["text"])))
        errors.append(float((APART.image - fitted.decode(codes["image"], "image")).square().sum(1).mean()))
    assert norms[1] < 0.7 * norms[0]
    assert errors[1] > errors[0]


def test_without_a_choice_of_k_too_large_a_penalty_costs_the_dictionary() -> None:
    fitted = fit_group_masked(SHARED, LONG, 2.0, 0, sparsity="relu")
    assert recovered(fitted.dictionaries["image"], SAME) <= 0.4


def test_group_norm_has_a_gradient_where_codes_are_zero() -> None:
    image, text = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3) * torch.tensor([0.0, 1.0, 2.0])
    group_norm(image, text).backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_sparc_chooses_by_the_sum_of_logits() -> None:
    model = Sparc(DIM, SHORT, strength=1.0, seed=0)
    codes = model.pair_codes(APART.image[:5], APART.text[:5])
    for row in range(5):
        logits = {name: model.encoder[name] @ APART.of(name)[row] for name in codes}
        chosen = set((logits["image"] + logits["text"]).argsort(descending=True)[:2].tolist())
        for name, code in codes.items():
            expected = [max(float(logits[name][j]), 0.0) if j in chosen else 0.0 for j in range(12)]
            np.testing.assert_allclose(code[row].detach().numpy(), expected, atol=1e-6)


def test_sparc_weighs_cross_reconstruction() -> None:
    image, text = APART.image[:4], APART.text[:4]
    plain, crossed = (Sparc(DIM, SHORT, strength, seed=0) for strength in (0.0, 2.0))
    codes = plain.pair_codes(image, text)
    across = [
        float(((rows - plain.decode(codes[other], name)) ** 2).sum(1).mean())
        for name, other, rows in (("image", "text", image), ("text", "image", text))
    ]
    assert float(crossed.loss(image, text) - plain.loss(image, text)) == pytest.approx(sum(across), rel=1e-5)


@pytest.mark.parametrize("nested", ["k", "dictionaries"])
def test_every_matryoshka_level_rebuilds(nested: str) -> None:
    budget = Budget(atoms=8, k=4, epochs=1, batch_pairs=8, learning_rate=1e-3)
    model = Matryoshka(DIM, budget, nested, seed=0)
    rows = torch.cat([SHARED.image[:3], SHARED.text[:3]])
    scores = rows @ model.encoder.T
    levels = {
        "k": [top_k(scores, k) for k in (1, 2, 4)],
        "dictionaries": [torch.cat([top_k(scores, 4)[:, :n], torch.zeros(6, 8 - n)], dim=1) for n in (2, 4, 8)],
    }[nested]
    expected = np.mean([float(((rows - z @ model.decoder) ** 2).sum(1).mean()) for z in levels])
    assert float(model.loss(SHARED.image[:3], SHARED.text[:3])) == pytest.approx(expected, rel=1e-5)


def test_a_nested_dictionary_has_more_in_its_first_atoms() -> None:
    def first_quarter(nested: str) -> float:
        codes = fit_matryoshka(SHARED, LONG, 0.0, 0, nested=nested).encode(SHARED.image, "image")
        return float((codes[:, :3] ** 2).sum() / (codes**2).sum())

    assert first_quarter("dictionaries") > first_quarter("k") + 0.03


def test_the_sliced_distance_of_a_shift_is_its_square() -> None:
    x = torch.randn(64, 8)
    shift = torch.arange(8.0)
    found = np.mean([float(sliced_distance(x, x + shift, torch.Generator().manual_seed(seed))) for seed in range(40)])
    assert found == pytest.approx(float(shift.square().sum()), rel=0.15)
    assert float(sliced_distance(x, x[torch.randperm(64)], torch.Generator().manual_seed(0))) == pytest.approx(0)


def test_cosae_adds_its_four_terms() -> None:
    image, text = APART.image[:8], APART.text[:8]
    alone, coupled = (float(CoSae(DIM, SHORT, strength, 0).loss(image, text)) for strength in (0.0, 1.0))
    model = CoSae(DIM, SHORT, 0.0, 0)
    z = {name: model.codes(rows, name) for name, rows in (("image", image), ("text", text))}
    paired = [
        ((image - model.decode(z["text"], "image")) ** 2).sum(1).mean() / 2,
        ((text - model.decode(z["image"], "text")) ** 2).sum(1).mean() / 2,
        ((z["image"] - z["text"]) ** 2).sum(1).mean(),
    ]
    assert coupled - alone > float(sum(paired))  # what is left is of the distributions


def test_canonical_correlations_are_those_of_a_plain_solution() -> None:
    rows = planted_rows(SAME, TWO[:CONCEPTS] + 0.5 * SAME, 400, active=3)
    noisy = type(rows)(
        rows.image + 0.1 * torch.randn(rows.image.shape, generator=torch.Generator().manual_seed(0)),
        rows.text + 0.1 * torch.randn(rows.text.shape, generator=torch.Generator().manual_seed(1)),
        rows.reference_image,
        rows.reference_text,
        rows.labels,
    )
    fitted = fit_canonical(noisy, SHORT, 0.0, 0)
    codes = {name: fitted.encode(noisy.of(name), name).numpy() for name in ("image", "text")}
    found = [np.corrcoef(codes["image"][:, j], codes["text"][:, j])[0, 1] for j in range(2)]
    x, y = (noisy.of(name).double().numpy() for name in ("image", "text"))
    x, y = x - x.mean(0), y - y.mean(0)
    product = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    expected = np.sqrt(np.sort(np.linalg.eigvals(product).real)[::-1][:2])
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_components_of_pairs_rebuild_what_k_of_them_can() -> None:
    rows = planted_rows(SAME[:2], TWO[:2], 400, active=1)  # one dimension once the means are gone
    fitted = fit_components(rows, SHORT, 0.0, 0)
    for modality, other in (("image", "text"), ("text", "image")):
        codes = fitted.encode(rows.of(modality), modality)
        for name in (modality, other):
            error = (rows.of(name) - fitted.decode(codes, name)).square().sum(1).mean()
            assert float(error) < 1e-4


def test_centring_takes_the_mean_and_gives_it_back() -> None:
    fitted = fit_centred(APART, SHORT, 0.0, 0)
    codes = fitted.encode(APART.image, "image")
    assert float(codes.mean(0).abs().max()) < 1e-6
    torch.testing.assert_close(fitted.decode(codes, "image"), APART.image)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_trains_and_is_a_function_of_its_seed(name: str) -> None:
    method = METHODS[name]
    one, again = (method.fit(APART.first(128), SHORT, method.strengths[-1], 3) for _ in range(2))
    for modality in ("image", "text"):
        codes = one.encode(APART.of(modality), modality)
        assert codes.shape == (len(APART), one.atoms)
        assert one.decode(codes, modality).shape == APART.image.shape
        assert codes.isfinite().all()
        torch.testing.assert_close(codes, again.encode(APART.of(modality), modality), rtol=0, atol=0)
        alone = one.encode(APART.of(modality)[:1], modality)
        torch.testing.assert_close(codes[:1], alone, rtol=1e-4, atol=1e-5)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(InputError, match=r"learning-rate|finite"):
        fit_group_masked(SHARED, Budget(12, 2, 3, 64, 1e38), 0.05, 0)
