"""Named settings to start from: `isoenergy STAGE [PRESET] [options]`."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.training.training_config import TrainingConfig
from workflows.arguments import parse_options
from workflows.command import VERBOSITY, take_verbosity

Config = TypeVar("Config")

# The β of each of the paper's models (paper 3.1); all else is the same for all.
_PAPER_BETAS = {"clip": 4e-4, "clip-l": 1e-4, "openclip": 4e-4, "openclip-l": 2e-4, "siglip": 1e-4, "siglip2": 7e-5}

TRAINING: dict[str, TrainingConfig] = {
    "demo": DEMO_TRAINING,
    "paper": TrainingConfig(),
    **{name: TrainingConfig(beta=(0.0, beta)) for name, beta in _PAPER_BETAS.items()},
}


def parse(
    presets: Mapping[str, Config], default: str, arguments: Sequence[str] | None, stage: str, about: str
) -> Config:
    """Parse a command line whose first word may name a preset; options override the preset's values."""
    rest = take_verbosity(arguments)
    name = rest.pop(0) if rest and rest[0] in presets else default
    description = f"{about}\n\npresets: {', '.join(presets)} (default: {default}); shown below: {name}\n\n{VERBOSITY}"
    return parse_options(type(presets[name]), presets[name], rest, f"isoenergy {stage} [PRESET]", description)
