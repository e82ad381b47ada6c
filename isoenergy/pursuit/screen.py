"""The screen: float32 scores by bf16 products say which atoms can still win, and those alone are computed exactly.

Of the bf16 Gram matrix a round reads half of the bytes, and processors that multiply bf16 numbers do so at two to five
times the rate. What is chosen, and all that is returned, is that of the *plain rounds*: in each, the float32 inner
product e_i = ⟨d_i, r⟩ of the residual r with every atom, in one fixed order of sums; the largest one, the lowest index
among equals; then r ← r - e_j d_j in float32. The products' rounding decides how many e_i are computed, not which
wins: results are the same bits on any number of threads, in any batch, and whatever library multiplies.

Proof. For an atom d_i let d̂_i be it in bf16, M ≥ ‖d_i‖, ‖d̂_i‖ and Δ ≥ ‖d̂_i - d_i‖, the largest of all atoms. Let x
be the residual that the scores were last computed from, v_s and j_s the coefficients and atoms since, r = x - Σ v_s
d_{j_s} and δ = (x̂ - x) - Σ v_s (d̂_{j_s} - d_{j_s}), so that r + δ = x̂ - Σ v_s d̂_{j_s}. Without further rounding a
score would be ŝ_i = ⟨d̂_i, x̂⟩ - Σ v_s ⟨d̂_i, d̂_{j_s}⟩ = ⟨d̂_i, r + δ⟩, and so

    |ŝ_i - ⟨d_i, r⟩| = |⟨d̂_i, δ⟩ + ⟨d̂_i - d_i, r⟩| ≤ M ‖δ‖ + Δ ‖r‖.

δ is carried along as a vector: its norm is far below the sum of its parts' norms. What rounds besides:

- Products in bf16, twice: ⟨d̂_i, x̂⟩ and the rows of Ĝ. A number y becomes ŷ with |ŷ - y| ≤ 2⁻⁸ |ŷ|. Over each panel p
  of atoms P_p = 2⁻⁸ (max |first scores| + Σ |v_s| max |Ĝ_{j_s}|) bounds it. Ĝ has zeros on its diagonal: the square of
  d̂_j, which would be the largest entry of its panel, is subtracted apart, in float32.
- Sums of n products in float32, in any order and with any faithful rounding, are within γ = 2 (n + 2) 2⁻²⁴ of the
  product of both norms: γ M ‖x̂‖ at first, γ |v| M² a round. a adds up twice that.
- The updates of ŝ, r and δ, with at most two roundings of 2⁻²⁴ of the result each. By |ŝ| ≤ M (‖r‖ + ‖δ‖) + P + a they
  are below 2⁻²⁰ M (‖r‖ + ‖δ‖), before and after the round, which a adds up too, and k 2⁻²³ (P + a), in the last factor
  below.
- The exact product itself: γ M ‖r‖, doubled for the threshold's own rounding to float32.
- What vanishes below 2⁻¹²⁶, in products that flush it to zero: 2⁻¹²⁰ a number, in a norm's square and in a.

All in all |ŝ_i - e_i| ≤ E_p = (1 + (k + n + 64) 2⁻²¹) (M ‖δ‖ + (Δ + 2 γ M) ‖r‖ + a + P_p), where the factor is for
norms, P and thresholds, which are computed in float32. An atom whose ŝ_i + E_p is below some e_j cannot win; all
others are computed. Where numbers come near to overflowing a is infinite, and all are. ∎

As a residual shrinks, errors that are multiples of the first x do not. Once a row has computed so many more candidates
a round than in its first that new scores would have cost less, it stops there, and such rows get scores from their
residuals together.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from isoenergy.compiling.products import bf16_product, product_error
from isoenergy.compiling.threads import in_parallel
from isoenergy.pursuit.bf16_code import LINE
from isoenergy.pursuit.candidates import count_candidates
from isoenergy.pursuit.gram import empty_on_huge_pages
from isoenergy.pursuit.policy import PursuitPolicy
from isoenergy.pursuit.screen_gram import padded_atoms, whole_screen_rows
from isoenergy.pursuit.screen_kernels import atom_bounds, pursue_rows

_BLOCK_BYTES = 2**25  # of scores at a time
_ROWS_A_TASK = 32
_ATOMS_A_CANDIDATE = 32  # whose scores cost what one exact product does


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments in float32: indices (int32, -1 where a row had stopped), values, residual.

    gram: of `screen_gram_matrix`; the proof does not hold of products of the atoms as they are.
    """
    indices, values, residual, candidates = pursue_and_count(x, dictionary, k, policy, gram)
    count_candidates(indices, candidates)
    return indices, values, residual


def pursue_and_count(
    x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor, looseness: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `pursue` does, and of each row how many exact products were computed, `(batch,)` int64.

    looseness: a factor of the errors; infinity computes all products, which changes no other result.
    """
    batch, dim = x.shape
    indices, values = torch.empty(batch, k, dtype=torch.int32), x.new_empty(batch, k)
    rounds, candidates = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.int64)
    residual, atoms = _in_whole_lines(x).clone(), _in_whole_lines(dictionary)
    width = atoms.shape[1]
    bounds = (*atom_bounds(atoms.numpy()), product_error(width))
    rules = (
        bounds,
        looseness * (1 + (k + width + 64) * 2.0**-21),
        len(atoms) // _ATOMS_A_CANDIDATE,
        policy.selection == "absolute",
        0.0 if policy.selection == "non-negative" else -np.inf,
        policy.stops,
        -1.0 if policy.tolerance is None else policy.tolerance,
    )
    rounded = atoms.to(torch.bfloat16)
    arrays = (
        _bits(whole_screen_rows(gram)),
        *(t.numpy() for t in (atoms, indices, values, residual, rounds, candidates)),
    )
    for low in range(0, batch, _rows_a_block(len(atoms))):
        rows = torch.arange(low, min(low + _rows_a_block(len(atoms)), batch))
        while len(rows):
            scores = _scores(residual[rows], rounded)
            task: Callable[[int, int], None] = partial(pursue_rows, rows.numpy(), _bits(scores), *arrays, *rules)
            in_parallel(task, len(rows), _ROWS_A_TASK)
            rows = rows[rounds[rows] < k]
    return indices, values, residual[:, :dim].contiguous(), candidates


def _in_whole_lines(rows: Tensor) -> Tensor:
    return pad(rows, (0, -rows.shape[1] % LINE)) if rows.shape[1] % LINE else rows.contiguous()


def _rows_a_block(atoms: int) -> int:
    return max(2, _BLOCK_BYTES // (2 * padded_atoms(atoms)))


def _scores(residual: Tensor, rounded: Tensor) -> Tensor:
    """Return `(rows, padded_atoms)` products of residuals with atoms in bf16, and zeros behind them."""
    scores = empty_on_huge_pages((len(residual), padded_atoms(len(rounded))), torch.int16).view(torch.bfloat16)
    scores[:, len(rounded) :] = 0
    bf16_product(residual.to(torch.bfloat16), rounded, out=scores[:, : len(rounded)])
    return scores


def _bits(numbers: Tensor) -> np.ndarray:
    """Return bf16 numbers as numpy has them: as uint16."""
    return numbers.view(torch.int16).numpy().view(np.uint16)
