"""Every form of the pursuit is held to the oracle."""

import weakref

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from isoenergy import SparseCodes
from isoenergy.compiling.products import bf16_speed
from isoenergy.pursuit import Backend, PursuitPolicy, cpu, gram_matrix, matching_pursuit, plan_pursuit
from isoenergy.pursuit.gram import GRAM_PANEL, correlations, even_parts
from isoenergy.pursuit.passing_gram import passing_gram_matrix
from isoenergy.pursuit.reverse import reverse

FORMS: tuple[Backend, ...] = ("cpu", "residual")
POLICIES = (
    PursuitPolicy(),
    PursuitPolicy("non-negative"),
    PursuitPolicy("absolute"),
    PursuitPolicy(tolerance=0.5),
    PursuitPolicy("absolute", tolerance=0.3),
    PursuitPolicy("non-negative", tolerance=0.0),
    PursuitPolicy(repeats="end"),
)


def problem(batch: int, dim: int, atoms: int, seed: int, norms: str = "unit") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    dictionary = torch.nn.functional.normalize(torch.randn(atoms, dim, generator=generator, dtype=torch.float64), dim=1)
    if norms == "free":
        dictionary *= 0.6 + 0.7 * torch.rand(atoms, 1, generator=generator, dtype=torch.float64)
    return x, dictionary


def codes_and_gradients(
    x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, backend: Backend
) -> tuple[SparseCodes, Tensor, Tensor]:
    x, dictionary = x.clone().requires_grad_(), dictionary.clone().requires_grad_()
    codes = matching_pursuit(x, dictionary, k, policy=policy, backend=backend)
    generator = torch.Generator().manual_seed(1)
    by_value = torch.randn(codes.values.shape, generator=generator, dtype=torch.float64).to(x.dtype)
    by_residual = torch.randn(codes.residual.shape, generator=generator, dtype=torch.float64).to(x.dtype)
    ((codes.values * by_value).sum() + (codes.residual * by_residual).sum()).backward()
    assert x.grad is not None
    assert dictionary.grad is not None
    return codes, x.grad, dictionary.grad


def assert_same(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, form: Backend) -> None:
    expected, expected_x, expected_dictionary = codes_and_gradients(x, dictionary, k, policy, "oracle")
    codes, grad_x, grad_dictionary = codes_and_gradients(x, dictionary, k, policy, form)
    assert torch.equal(codes.indices, expected.indices)
    assert codes.indices.dtype == torch.int32
    for ours, theirs in (
        (codes.values, expected.values),
        (codes.residual, expected.residual),
        (grad_x, expected_x),
        (grad_dictionary, expected_dictionary),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize(
    ("batch", "dim", "atoms", "k"),
    [(33, 16, 40, 6), (1, 16, 300, 5), (0, 8, 20, 3), (5, 7, 20, 1), (9, 6, 700, 15), (40, 64, 513, 9), (3, 4, 1, 1)],
)
def test_a_form_equals_the_oracle(
    form: Backend, policy: PursuitPolicy, batch: int, dim: int, atoms: int, k: int
) -> None:
    for norms in ("unit", "free"):
        x, dictionary = problem(batch, dim, atoms, seed=batch + dim, norms=norms)
        if batch > 3:
            x[2] = 0
        assert_same(x, dictionary, k, policy, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 2, 65])
def test_of_equal_atoms_the_first_is_chosen(form: Backend, batch: int) -> None:
    x, _ = problem(batch, 64, 1, seed=3)
    generator = torch.Generator().manual_seed(4)
    axes, signs = (torch.randint(most, (257,), generator=generator) for most in (64, 2))
    scales = 2.0 ** torch.randint(-1, 2, (257,), generator=generator)
    # One power of two an atom: each product has one term, so that no machine's rounding can tell equal atoms apart.
    dictionary = torch.zeros(257, 64, dtype=torch.float64)
    dictionary[torch.arange(257), axes] = (scales * (2 * signs - 1)).double()
    first = (dictionary[:, None] == dictionary).all(2).int().argmax(1)
    dictionary = torch.cat([dictionary, dictionary])
    for inputs in ((x, dictionary), (x.float(), dictionary.float())):
        chosen = matching_pursuit(*inputs, 8, backend=form).indices.long()
        assert chosen.max() < 257
        assert torch.equal(first[chosen], chosen)
    assert_same(x, dictionary, 8, PursuitPolicy(), form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 70),
    dim=st.integers(1, 40),
    atoms=st.integers(1, 300),
    k=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    norms=st.sampled_from(["unit", "free"]),
    policy=st.sampled_from(POLICIES),
)
def test_a_form_equals_the_oracle_on_any_shape(
    form: Backend, batch: int, dim: int, atoms: int, k: int, seed: int, norms: str, policy: PursuitPolicy
) -> None:
    x, dictionary = problem(batch, dim, atoms, seed, norms)
    # once the residual is rounding, so is every choice
    k = max(1, min(k, dim // 2, atoms // 4))
    if policy.selection == "non-negative":  # and so is whether a row stops, once no correlation is left
        left = matching_pursuit(x, dictionary, k, policy=policy, backend="oracle").residual @ dictionary.T
        assume(bool((left.amax(dim=1).abs() > 1e-9).all()))
    assert_same(x, dictionary, k, policy, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_gradcheck(form: Backend, policy: PursuitPolicy) -> None:
    x, dictionary = problem(4, 5, 9, seed=2, norms="free")

    def values_and_residual(x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        codes = matching_pursuit(x, dictionary, 4, policy=policy, backend=form)
        return codes.values, codes.residual

    assert torch.autograd.gradcheck(values_and_residual, (x.requires_grad_(), dictionary.requires_grad_()))


def test_the_plain_reverse_pass_equals_the_kernel() -> None:
    """The plain one serves devices that have neither kernel."""
    x, dictionary = problem(50, 24, 130, seed=11, norms="free")
    policy = PursuitPolicy("non-negative", tolerance=2.0)
    saved = cpu.pursue(x, dictionary, 9, policy, gram_matrix(dictionary))
    assert (saved[0] == -1).any()
    gradients = torch.randn_like(saved[1]), torch.randn_like(saved[2])
    ours = cpu.reverse(dictionary, *saved, *gradients)
    torch.testing.assert_close(ours, reverse(dictionary, *saved, *gradients), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", ["oracle", *FORMS])
def test_float32_chooses_as_float64_where_nothing_is_nearly_equal(form: Backend) -> None:
    """Orthonormal atoms and well-parted coefficients: no two correlations are within 1 % of each other."""
    dictionary = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[
        0
    ]
    ladder = 1.3 ** -torch.arange(64, dtype=torch.float64)
    orders = torch.stack([torch.randperm(64, generator=torch.Generator().manual_seed(i)) for i in range(200)])
    x = ladder[orders] @ dictionary
    exact = matching_pursuit(x, dictionary, 12, backend="oracle")
    codes = matching_pursuit(x.float(), dictionary.float(), 12, backend=form)
    assert torch.equal(codes.indices, exact.indices)


@pytest.mark.parametrize("form", ["oracle", *FORMS])
def test_global_matmul_precision_and_autocast_change_nothing(form: Backend) -> None:
    x, dictionary = (t.float() for t in problem(50, 96, 400, seed=5))
    expected = matching_pursuit(x, dictionary, 6, backend=form)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            codes = matching_pursuit(x, dictionary, 6, backend=form)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(codes.indices, expected.indices)
    assert torch.equal(codes.values, expected.values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    x, dictionary = (t.to(dtype) for t in problem(20, 32, 90, seed=6))
    codes = matching_pursuit(x, dictionary, 5)
    exact = matching_pursuit(x.float(), dictionary.float(), 5)
    assert torch.equal(codes.indices, exact.indices)
    assert codes.values.dtype == codes.residual.dtype == dtype


def test_a_gram_matrix_can_be_built_once() -> None:
    x, dictionary = problem(30, 16, 600, seed=7)
    gram = gram_matrix(dictionary)
    torch.testing.assert_close(gram, dictionary @ dictionary.T, rtol=1e-12, atol=1e-12)
    assert torch.equal(gram, gram.T)
    for given_gram in (gram, gram.clone(), gram.T):
        codes = matching_pursuit(x, dictionary, 6, gram=given_gram)
        assert torch.equal(codes.indices, matching_pursuit(x, dictionary, 6, backend="oracle").indices)
    with pytest.raises(ValueError, match="gram must be"):
        matching_pursuit(x, dictionary, 6, gram=gram[:-1])


def test_non_contiguous_input_is_read_rightly() -> None:
    x, dictionary = problem(64, 24, 128, seed=8)
    wide, columns = torch.cat([x, x], 1)[:, :24], dictionary.T.contiguous().T
    for form in FORMS:
        codes = matching_pursuit(wide[::2], columns, 4, backend=form)
        assert torch.equal(codes.indices, matching_pursuit(x[::2].clone(), dictionary, 4, backend="oracle").indices)


def test_an_overflow_ends_in_numbers_that_are_not_finite_not_in_a_crash() -> None:
    x, dictionary = torch.full((40, 8), 3e38), torch.full((200, 8), 3e38)
    for form in FORMS:
        codes = matching_pursuit(x, dictionary, 4, backend=form)
        assert 0 <= codes.indices.min() <= codes.indices.max() < 200


def test_a_row_that_stops_keeps_its_values_and_pads_with_zeros() -> None:
    dictionary = torch.eye(4, dtype=torch.float64)
    x = torch.tensor([[3.0, -2.0, 0.0, 1.0]], dtype=torch.float64)
    for form in ("oracle", *FORMS):
        codes = matching_pursuit(x, dictionary, 4, policy=PursuitPolicy("non-negative"), backend=form)
        assert codes.indices.tolist() == [[0, 3, 0, 0]]
        assert codes.values.tolist() == [[3, 1, 0, 0]]
        codes = matching_pursuit(x, dictionary, 4, policy=PursuitPolicy("absolute", tolerance=1.0), backend=form)
        assert codes.indices.tolist() == [[0, 1, 0, 0]]
        assert codes.values.tolist() == [[3, -2, 0, 0]]


def test_backward_keeps_eight_bytes_an_atom_chosen_and_one_residual() -> None:
    batch, dim, atoms, k = 512, 64, 1024, 10
    x, dictionary = (t.float().requires_grad_() for t in problem(batch, dim, atoms, seed=9))
    for form in FORMS:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            matching_pursuit(x, dictionary, k, backend=form)
        kept.pop(dictionary.data_ptr())
        assert sum(kept.values()) == batch * (8 * k + 4 * dim)


def test_the_plan_takes_the_gram_form_where_it_pays() -> None:
    assert plan_pursuit(1024, 512, 4096, 20).form == ("screen" if bf16_speed() else "cpu")
    assert plan_pursuit(8, 512, 16384, 20).form == "residual"  # G costs more than 20 products of 8 rows
    assert plan_pursuit(8, 512, 16384, 20, has_gram=True).form == "cpu"
    assert plan_pursuit(100_000, 512, 10**6, 20).form == "residual"  # no room for 4 TB
    assert plan_pursuit(16384, 512, 4096, 20, "cuda").form == "triton"
    assert "expected" in str(plan_pursuit(1024, 512, 4096, 20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.full((2, 4), torch.nan)}, r"x must be finite.*\[0, 1\]"),
        ({"dictionary": torch.full((6, 4), torch.inf)}, "dictionary must be finite"),
        ({"x": torch.ones(2, 4, dtype=torch.int64)}, "x must be a floating point"),
        ({"x": torch.ones(4)}, "x must be a floating point"),
        ({"x": torch.ones(2, 5)}, "dictionary must be"),
        ({"dictionary": torch.ones(0, 4)}, "dictionary must be"),
        ({"dictionary": torch.ones(6, 4, dtype=torch.float64)}, "dictionary must have the dtype"),
        ({"dictionary": torch.ones(6, 4, device="meta")}, "dictionary must have the dtype and device"),
        ({"k": 0}, "k must be"),
        ({"k": 2.0}, "k must be"),
        ({"backend": "triton"}, "backend must be"),
        ({"backend": "fast"}, "backend must be"),
        ({"precision": "tf32"}, "precision must be"),
    ],
)
def test_what_cannot_be_pursued_names_the_argument(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matching_pursuit(**{"x": torch.ones(2, 4), "dictionary": torch.ones(6, 4), "k": 2, **arguments})


def test_a_policy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="selection must be one of"):
        PursuitPolicy("largest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance must be"):
        PursuitPolicy(tolerance=-1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("batch", "dim", "atoms", "k"),
    [(0, 8, 3, 2), (1, 1, 1, 1), (33, 512, 140, 10), (129, 77, 300, 9), (50, 1152, 64, 5)],
)
def test_gradients_are_the_same_bits_with_any_number_of_threads(
    batch: int, dim: int, atoms: int, k: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, dictionary = (part.to(dtype) for part in problem(batch, dim, atoms, seed=1))
    codes = matching_pursuit(x, dictionary, k)
    indices = codes.indices.masked_fill(torch.rand(batch, k, generator=generator).cumsum(1) > k / 3, -1)
    by_value, by_residual = (torch.randn(part.shape, generator=generator).to(dtype) for part in (codes.values, x))
    arguments = dictionary, indices, codes.values, codes.residual, by_value, by_residual
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        grad_x, grad_dictionary = cpu.reverse(*arguments)
        without_x = cpu.reverse(*arguments, wants_x=False)
        torch.set_num_threads(2)
        several = cpu.reverse(*arguments)
    finally:
        torch.set_num_threads(threads)
    assert without_x[0] is None
    assert torch.equal(without_x[1], grad_dictionary)
    assert grad_x is not None
    assert several[0] is not None
    assert torch.equal(several[0], grad_x)
    assert torch.equal(several[1], grad_dictionary)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("atoms", [1, 31, 256, 257, 1100])
def test_a_gram_matrix_is_mirrored_bit_for_bit(atoms: int, dtype: torch.dtype) -> None:
    dictionary = torch.randn(atoms, 24, generator=torch.Generator().manual_seed(atoms)).to(dtype)
    gram = gram_matrix(dictionary)
    for low, high in even_parts(atoms, GRAM_PANEL):
        panel = correlations(dictionary[:high], dictionary[low:high])
        above = torch.arange(high)[:, None] <= torch.arange(low, high)
        assert torch.equal(gram[:high, low:high][above], panel[above])
    assert torch.equal(gram, gram.T)


def test_steps_that_keep_the_memory_of_their_gram_matrix_have_the_same_bits() -> None:
    def steps(forget: bool) -> list[Tensor]:
        x, start = (part.float() for part in problem(40, 16, 300, seed=5))
        dictionary = start.clone().requires_grad_()
        seen = []
        for step in range(12):
            given_gram = gram_matrix(dictionary) if forget else None
            codes = matching_pursuit(x, dictionary, 5, backend="cpu", gram=given_gram)
            (loss := codes.residual.square().mean()).backward()
            if step == 6:  # of another size, in between
                matching_pursuit(x, start[:290].clone(), 5, backend="cpu")
            with torch.no_grad():
                assert dictionary.grad is not None
                dictionary -= dictionary.grad
            seen += [loss.detach(), dictionary.detach().clone()]
            dictionary.grad = None
        return seen

    assert all(torch.equal(kept, anew) for kept, anew in zip(steps(False), steps(True), strict=True))


def test_the_memory_of_a_gram_matrix_is_kept_for_as_long_as_its_dictionary() -> None:
    dictionary = problem(1, 16, 300, seed=5)[1]
    first = passing_gram_matrix(dictionary, "full")
    address = first.data_ptr()
    assert passing_gram_matrix(dictionary + 1, "full").data_ptr() == address  # that dictionary is gone, and so is it
    memory = weakref.ref(passing_gram_matrix(dictionary, "full"))
    assert memory() is not None
    assert passing_gram_matrix(dictionary, "full") is memory()
    del dictionary, first
    assert memory() is None


@pytest.mark.parametrize("dim", [1, 77, 512])
def test_both_products_of_float32_are_right(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(dim)
    x, dictionary = torch.randn(70, 2 * dim, generator=generator)[:, ::2], torch.randn(dim, 300, generator=generator).T
    for faster in (False, hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        monkeypatch.setattr("isoenergy.compiling.products.onednn_is_faster", lambda faster=faster: faster)
        for rows in (x, x[:1], x[:0]):
            exact = rows.double() @ dictionary.T.double()
            torch.testing.assert_close(correlations(rows, dictionary).double(), exact, rtol=0, atol=1e-6 * dim)
            kept = torch.empty(len(rows), 300)
            assert torch.equal(correlations(rows, dictionary, out=kept), correlations(rows, dictionary))
