"""Adam: torch's own, to the bit and to its checkpoints."""

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from isoenergy.adam import Adam

STEPS = 6


def trained(kind: type[torch.optim.Adam], parameter: Tensor, begun: dict | None = None) -> dict:
    optimiser = kind([parameter], lr=0.1, fused=True)
    schedule = OneCycleLR(optimiser, 0.1, total_steps=2 * STEPS)
    if begun is not None:
        optimiser.load_state_dict(begun)
    for _ in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        parameter.pow(4).sum().backward()
        optimiser.step()
        schedule.step()
    return optimiser.state_dict()


def start() -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_steps_and_states_are_those_of_torch() -> None:
    ours, theirs = start(), start()
    states = trained(Adam, ours), trained(torch.optim.Adam, theirs)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start())
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for name, value in states[1]["state"][0].items():
        assert torch.equal(states[0]["state"][0][name], value)


def test_either_goes_on_from_the_other() -> None:
    first = start()
    state = trained(torch.optim.Adam, first)
    ours, theirs = (first.detach().clone().requires_grad_() for _ in range(2))
    trained(Adam, ours, state)
    trained(torch.optim.Adam, theirs, trained(Adam, start()))
    assert torch.equal(ours, theirs)
