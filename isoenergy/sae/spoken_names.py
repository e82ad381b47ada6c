"""SAEs by names that a person reads: `SAE-A β 0.001, seed 0`."""

import re

_DIGEST = re.compile(r"-[0-9a-f]{6}$")
_SAE = re.compile(r"(null-)?beta-(\d[\d.e+-]*?)(?:-seed-(\d+))?")


def spoken_sae(name: str) -> str:
    """Return what people call an SAE, by the name that training or an evaluation gives it; any other as it is."""
    plain = _DIGEST.sub("", name)
    sae = _SAE.fullmatch(plain)
    if sae is None:
        return plain
    kind = "SAE" if float(sae[2]) == 0 else f"SAE-A β {sae[2]}"
    return f"{'the null of ' * bool(sae[1])}{kind}{f', seed {sae[3]}' if sae[3] else ''}"
