"""The screen returns what computing every product would, bit for bit, however adverse the dictionary; and few are."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.compiling import products
from isoenergy.pursuit import (
    PursuitPolicy,
    gram_matrix,
    matching_pursuit,
    oracle,
    plan_pursuit,
    screen,
    screen_gram_matrix,
)
from isoenergy.pursuit.candidates import CandidateCount, counting_candidates

POLICIES = (
    PursuitPolicy(),
    PursuitPolicy("absolute"),
    PursuitPolicy("non-negative"),
    PursuitPolicy("absolute", tolerance=0.3),
    PursuitPolicy(tolerance=0.5, repeats="end"),
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(normal(*shape, seed=seed), dim=1)


def one_ulp_apart() -> Tensor:
    """Families of atoms that differ in the last bit of one number."""
    atoms = unit(40, 96).repeat_interleave(8, 0)
    last_bits = torch.arange(320) % 8
    bits = atoms.view(torch.int32)
    bits[torch.arange(320), last_bits * 5] += (last_bits > 0).int()
    return atoms


DICTIONARIES = {
    "random": unit(700, 96),
    "one ulp apart": one_ulp_apart(),
    "coherent": normalize(unit(10, 96).repeat_interleave(40, 0) + 0.05 * normal(400, 96, seed=1), dim=1),
    "nearly one": normalize(unit(1, 96) + 0.01 * normal(300, 96, seed=1), dim=1),
    "repeated": unit(100, 96).repeat(4, 1),
    "norms of all sizes": unit(400, 96)
    * 10 ** (2 * torch.rand(400, 1, generator=torch.Generator().manual_seed(2)) - 2),
    "tiny": unit(300, 96) * 1e-12,
    "denormal": unit(300, 96) * 1e-39,
    "zeros among them": unit(300, 96) * (torch.arange(300) % 3 > 0)[:, None],
    "signs": torch.sign(normal(300, 96, seed=4)) / 96**0.5,  # exact ties
    "a single one": unit(1, 96),
    "an odd number of narrow ones": unit(301, 7),
}
ROWS = {"unit": 1.0, "tiny": 1e-17, "denormal": 1e-39, "large": 1e15, "huge": 1e30}


def rows_for(dictionary: Tensor, scale: float = 1.0) -> Tensor:
    """Sums of a few atoms with noise, noise alone, two atoms' middle, rows of zeros."""
    count, dim = dictionary.shape
    picks = torch.randint(count, (20, 5), generator=torch.Generator().manual_seed(3))
    sums = normalize(dictionary[picks].mul(normal(20, 5, 1, seed=5)).sum(1).double(), dim=1).float()
    middle = dictionary[:3] + dictionary[-1]
    rows = torch.cat([sums + 0.02 * normal(20, dim, seed=6), unit(6, dim, seed=7), middle, torch.zeros(2, dim)])
    return rows * scale


def assert_as_if_all_were_computed(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy) -> Tensor:
    gram = screen_gram_matrix(dictionary)
    *found, candidates = screen.pursue_and_count(x, dictionary, k, policy, gram)
    *expected, all_of_them = screen.pursue_and_count(x, dictionary, k, policy, gram, looseness=float("inf"))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7))
    taken = (found[0] >= 0).sum(1)
    something_is_left = found[2].any(1)
    assert (all_of_them >= taken * len(dictionary))[something_is_left].all()
    assert (candidates <= all_of_them).all()
    return candidates


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("kind", DICTIONARIES)
def test_no_atom_that_could_win_is_left_out(kind: str, policy: PursuitPolicy) -> None:
    dictionary = DICTIONARIES[kind]
    for scale in ROWS.values():
        assert_as_if_all_were_computed(rows_for(dictionary, scale), dictionary, 12, policy)


def test_a_bound_that_is_too_small_is_noticed() -> None:
    dictionary = DICTIONARIES["one ulp apart"]
    x, gram = rows_for(dictionary), screen_gram_matrix(dictionary)
    exact, wrong = (
        screen.pursue_and_count(x, dictionary, 12, PursuitPolicy(), gram, looseness)[0] for looseness in (1, 0)
    )
    assert not torch.equal(exact, wrong)


def test_few_atoms_are_candidates() -> None:
    dictionary = unit(2048, 256)
    x = rows_for(dictionary)[:26]
    candidates = screen.pursue_and_count(x, dictionary, 10, PursuitPolicy(), screen_gram_matrix(dictionary))[3]
    assert candidates.sum() < 10 * 10 * len(x)


def test_what_pursuits_compute_is_counted_while_it_is_asked_for() -> None:
    dictionary = unit(256, 32)
    x, gram = rows_for(dictionary), screen_gram_matrix(dictionary)
    policy = PursuitPolicy("non-negative", tolerance=0.5)
    indices, *_, candidates = screen.pursue_and_count(x, dictionary, 12, policy, gram)
    count = CandidateCount()
    with counting_candidates(count):
        for _ in range(2):
            matching_pursuit(x, dictionary, 12, gram=gram, policy=policy)
    matching_pursuit(x, dictionary, 12, gram=gram, policy=policy)
    rounds = int((indices >= 0).sum())
    assert 0 < rounds < indices.numel()
    assert (count.candidates, count.rounds) == (2 * int(candidates.sum()), 2 * rounds)
    assert count.a_round(x.device) == int(candidates.sum()) / rounds
    assert CandidateCount().a_round(x.device) is None


@pytest.mark.parametrize("selection", ["signed", "absolute"])
def test_two_hundred_rounds_renew_their_scores_and_choose_as_float64_does(selection: str) -> None:
    dictionary, policy = unit(600, 256), PursuitPolicy(selection)  # type: ignore[arg-type]
    x = unit(9, 256, seed=8)
    candidates = assert_as_if_all_were_computed(x, dictionary, 200, policy)
    indices = matching_pursuit(x, dictionary, 200, policy=policy, backend="screen").indices
    exact = oracle.pursue(x.double(), dictionary.double(), 200, policy)[0]
    assert (indices == exact)[:, :100].all()
    assert (indices == exact).double().mean() > 0.95
    assert candidates.sum() < 60 * 200 * len(x)  # without new scores nearly all of 600 atoms a round


@contextmanager
def bf16_products_as_of(speed: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "bf16_speed", lambda: speed)
        yield


def test_results_are_the_same_bits_for_other_products_threads_and_batches() -> None:
    dictionary = DICTIONARIES["coherent"]
    x = rows_for(dictionary).repeat(4, 1)
    seen = []
    threads = torch.get_num_threads()
    for speed, count in ((0, 1), (2, 1), (2, 2)):
        try:
            torch.set_num_threads(count)
            with bf16_products_as_of(speed):
                seen.append(screen.pursue(x, dictionary, 9, PursuitPolicy(), screen_gram_matrix(dictionary)))
        finally:
            torch.set_num_threads(threads)
    one_by_one = [
        screen.pursue(row[None], dictionary, 9, PursuitPolicy(), screen_gram_matrix(dictionary)) for row in x[:5]
    ]
    for others in seen[1:]:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen[0], others, strict=True))
    for number, alone in enumerate(one_by_one):
        assert all(torch.equal(ours[number], theirs[0]) for ours, theirs in zip(seen[0], alone, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 40),
    dim=st.integers(1, 90),
    atoms=st.integers(1, 600),
    k=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    free=st.booleans(),
    policy=st.sampled_from(POLICIES),
)
def test_it_chooses_as_float64_wherever_float32_decides(
    batch: int, dim: int, atoms: int, k: int, seed: int, free: bool, policy: PursuitPolicy
) -> None:
    """A row is followed for as long as the best atom is clear of all others, and stops of their limits, by 1e-5."""
    x, dictionary = unit(batch, dim, seed=seed), unit(atoms, dim, seed=seed + 1)
    if free:
        dictionary *= 0.6 + 0.7 * torch.rand(atoms, 1, generator=torch.Generator().manual_seed(seed))
    codes = matching_pursuit(x, dictionary, k, policy=policy, backend="screen")
    assert codes.indices.shape == (batch, k)
    exact = matching_pursuit(x.double(), dictionary.double(), k, policy=policy, backend="oracle")
    for row in range(batch):
        residual = x[row].double()
        for step in range(k):
            scores = dictionary.double() @ residual
            strengths = scores.abs() if policy.selection == "absolute" else scores
            top = strengths.topk(min(2, atoms)).values
            near_a_limit = policy.stops and (
                abs(float(top[0])) < 1e-5 or abs(float(residual.norm()) - (policy.tolerance or 0)) < 1e-5
            )
            if near_a_limit or (atoms > 1 and top[0] - top[1] < 1e-5):
                break
            assert codes.indices[row, step] == exact.indices[row, step]
            assert abs(codes.values[row, step] - exact.values[row, step]) < 1e-5
            residual = residual - exact.values[row, step] * dictionary[exact.indices[row, step]].double()


def test_gradients_are_those_of_the_float32_form() -> None:
    x, dictionary = unit(30, 96, seed=1), unit(500, 96)

    def gradients(backend: str) -> tuple[Tensor, ...]:
        given_x, atoms = x.clone().requires_grad_(), dictionary.clone().requires_grad_()
        codes = matching_pursuit(given_x, atoms, 7, backend=backend)  # type: ignore[arg-type]
        (codes.values.pow(3).sum() + codes.residual.square().sum()).backward()
        assert given_x.grad is not None
        assert atoms.grad is not None
        return given_x.grad, atoms.grad

    for ours, theirs in zip(gradients("screen"), gradients("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_gram_matrix_of_the_screen_can_be_given_and_a_stale_one_is_refused() -> None:
    x, dictionary = unit(30, 96, seed=1), unit(501, 96)
    gram = screen_gram_matrix(dictionary)
    assert gram.dtype == torch.bfloat16
    assert torch.equal(gram, gram.T)
    assert not gram.diagonal().any()
    expected = matching_pursuit(x, dictionary, 6, backend="screen")
    for given_gram in (gram, gram.clone(), gram.T):
        codes = matching_pursuit(x, dictionary, 6, backend="screen", gram=given_gram)
        assert torch.equal(codes.indices, expected.indices)
        assert torch.equal(codes.values, expected.values)
    matching_pursuit(x, dictionary, 6, gram=gram)
    for changed in (dictionary * 0.95, dictionary.roll(1, 0)):
        with pytest.raises(ValueError, match="this very dictionary"):
            matching_pursuit(x, changed, 6, gram=gram)
    with pytest.raises(ValueError, match="gram must be"):
        matching_pursuit(x, dictionary, 6, backend="cpu", gram=gram)
    with pytest.raises(ValueError, match=r"gram must be screen_gram_matrix\(dictionary\)"):
        matching_pursuit(x, dictionary, 6, backend="screen", gram=gram_matrix(dictionary))
    with pytest.raises(ValueError, match=r"give screen_gram_matrix\(dictionary\)"):
        matching_pursuit(x, dictionary, 6, gram=gram_matrix(dictionary).bfloat16())
    with pytest.raises(ValueError, match="gram must be"):
        matching_pursuit(x.double(), dictionary.double(), 6, gram=gram)


def test_what_it_does_not_compute_in_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="screen computes in float32"):
        matching_pursuit(torch.ones(2, 4).double(), torch.ones(6, 4).double(), 2, backend="screen")
    half = matching_pursuit(torch.ones(2, 4).half(), torch.ones(6, 4).half(), 2, backend="screen")
    assert half.values.dtype == torch.float16


def test_the_plan_takes_it_by_a_rule_where_bf16_products_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for speed, form in ((0, "cpu"), (2, "screen"), (5, "screen")):
        monkeypatch.setattr("isoenergy.pursuit.plan.bf16_speed", lambda speed=speed: speed)
        assert plan_pursuit(1024, 512, 4096, 20).form == form
        assert plan_pursuit(1024, 512, 4096, 20, dtype=torch.float64).form == "cpu"
        assert plan_pursuit(1024, 512, 4096, 20, has_gram=True).form == "cpu"
        assert plan_pursuit(1024, 512, 4096, 20, has_gram=True, gram_dtype=torch.bfloat16).form == "screen"
        assert plan_pursuit(1024, 512, 64, 4).form == "cpu"
        assert plan_pursuit(100, 256, 512, 16).form == "cpu"
    assert plan_pursuit(1024, 512, 4096, 20, "cuda").form == "triton"
