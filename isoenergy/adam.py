"""Adam as torch has it, without the import of the compiler."""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class Adam(torch.optim.Adam):
    """torch's own, step for step and state for state.

    There each method first asks `torch._dynamo` not to compile it: an import that takes as long as that of torch
    itself, in every worker that trains and in the first `isoenergy.fit` of a notebook. No optimiser is compiled here.
    """

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
