"""The Gram matrix of a step of training, whose memory is kept for the next step's."""

import threading
import weakref
from typing import Any

import torch
from torch import Tensor

from isoenergy.pursuit.gram import empty_gram, gram_matrix, matmul_precision, write_gram
from isoenergy.pursuit.plan import Form
from isoenergy.pursuit.policy import Precision
from isoenergy.pursuit.screen_gram import empty_screen_gram, write_screen_gram


class _Kept(threading.local):
    """The memory of a thread's last Gram matrix, for as long as the dictionary lives that it was of."""

    def __init__(self) -> None:
        self.slot: dict[str, Any] = {}


_kept = _Kept()


def passing_gram_matrix(dictionary: Tensor, precision: Precision, form: Form = "cpu") -> Tensor:
    """Return `gram_matrix(dictionary)` in memory that this thread's next call writes anew: for one pursuit.

    A step of training needs a new one for each dictionary, and on a CPU asking for its memory and giving it back takes
    as long as mirroring it. form: the one that it is for; `screen` has its own.
    """
    if dictionary.device.type != "cpu":
        return gram_matrix(dictionary, precision)
    slot, atoms = _kept.slot, len(dictionary)
    dtype = torch.bfloat16 if form == "screen" else dictionary.dtype
    gram: Tensor | None = slot.get("gram")
    if gram is None or len(gram) != atoms or gram.dtype != dtype:
        slot.clear()  # before there are two
        gram = slot["gram"] = empty_screen_gram(atoms) if form == "screen" else empty_gram(atoms, dtype)

    def forget(owner: object) -> None:
        if slot.get("owner") is owner:
            slot.clear()

    slot["owner"] = weakref.ref(dictionary, forget)
    with torch.no_grad(), matmul_precision(precision):
        (write_screen_gram if form == "screen" else write_gram)(gram, dictionary)
    return gram
