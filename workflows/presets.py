"""Named settings to start from: `isoenergy STAGE [PRESET] [options]`."""

from collections.abc import Mapping
from typing import TypeVar

import tyro

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.training import TrainingConfig

Config = TypeVar("Config")

TRAINING: dict[str, TrainingConfig] = {
    "demo": DEMO_TRAINING,
    "paper": TrainingConfig(),
}


def parse(presets: Mapping[str, Config], default: str, arguments: list[str] | None, stage: str, about: str) -> Config:
    """Parse a command line whose first word may name a preset; options override the preset's values."""
    rest = list(arguments or [])
    name = rest.pop(0) if rest and rest[0] in presets else default
    description = f"{about}\n\npresets: {', '.join(presets)} (default: {default}); shown below: {name}"
    return tyro.cli(
        type(presets[name]),
        default=presets[name],
        args=rest,
        prog=f"isoenergy {stage} [PRESET]",
        description=description,
    )
