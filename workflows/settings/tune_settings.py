"""What `isoenergy tune` is asked for."""

from collections.abc import Sequence
from dataclasses import replace

from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from tune.search_config import SearchConfig
from tune.space import Dimension, SearchSpace
from workflows import presets
from workflows.arguments import REGISTRY, one_word

DEMO_SPACE = SearchSpace(
    beta=Dimension(2e-4, 1e-2),
    expansion=Dimension(values=(1.0, 2.0, 4.0)),
    k=Dimension(values=(8.0, 12.0, 16.0)),
    learning_rate=Dimension(values=(1e-3,)),
    batch_pairs=Dimension(values=(256.0,)),
    bias_atoms=("none", "means"),
)
"""For the bundled pairs, whose encoder is small: β is relative to an error a coordinate."""


@REGISTRY.primitive_rule
def _dimensions(info: PrimitiveTypeInfo) -> "PrimitiveConstructorSpec[Dimension] | None":
    return one_word("LOW..HIGH|A,B,C", Dimension.parse, Dimension) if info.type is Dimension else None


def parse(arguments: Sequence[str] | None) -> SearchConfig:
    """Return what a command line asks for."""
    choices = {name: SearchConfig(training=training) for name, training in presets.TRAINING.items()}
    choices["demo"] = replace(choices["demo"], space=DEMO_SPACE)
    return presets.parse(
        choices, "paper", arguments, "tune", "Search for the settings of SAEs, with several objectives."
    )
