"""A model card: what an autoencoder is, what it was trained on, what it came to."""

import re
from collections.abc import Mapping
from dataclasses import asdict

from isoenergy.sae.sae_config import SaeConfig
from isoenergy.settings.modalities import MODALITIES

PLACEHOLDER = "hf:ORG/NAME"
"""Stands in a card for the place on the hub, which nobody knows before the autoencoder is shared."""

_MEASURES = {
    "validation_r2": "R² against the mean of all entries, on held-out pairs (validation split)",
    "l0": "atoms a row, last training steps",
    "dead_atoms": "dead atoms",
    "unfired_atoms": "atoms that never fired in the last epoch",
    "always_on_energy": "share of the energy in always-on atoms (f > 0.9), last training steps",
    "bimodal_energy": "share of the energy in bimodal atoms, last training steps",
    "alignment": "alignment term, last training steps",
}
_SPLITS = """It is meant to split what
a vision-language model encodes into atoms that both modalities share and atoms of one modality alone (the Iso-Energy
hypothesis, arXiv 2602.06218); how far it does so, `isoenergy evaluate` measures."""
_SPLITS_VECTORS = """It is meant to split
paired vectors into atoms that several modalities share and atoms of one modality alone (the Iso-Energy hypothesis,
arXiv 2602.06218); how far it does so, `isoenergy evaluate` measures."""
_NULL = """**It is a null
model: each image was trained on with the text of another.** What its atoms seem to share between the modalities is the
alignment term's own making, to be held against what the same β finds on true pairs (the Iso-Energy hypothesis, arXiv
2602.06218)."""
_LONGEST = 200
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&@$]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def model_card(config: SaeConfig, encoder: str, training: Mapping[str, object], measures: Mapping[str, float]) -> str:
    """Return the card as Markdown with the hub's front matter; no name or value in it acts as markup.

    encoder: what made the embeddings. training: settings and fingerprints to name. measures: metrics by name, without
    the SAE's prefix.
    """
    kind, meaning = ("An aligned sparse autoencoder (SAE-A)" if config.beta > 0 else "A sparse autoencoder"), _SPLITS
    tag = "\n- vision-language"
    if config.modalities != MODALITIES:
        meaning, tag = _SPLITS_VECTORS, ""
    if config.null:
        kind, meaning = "A null model (a sparse autoencoder trained on shuffled pairs)", _NULL
    left_out = ("sparse_encoder", "alignment", "modalities", "widths")
    what = {key: value for key, value in asdict(config).items() if key not in left_out}
    settings = {**what, "alignment": config.alignment, "sparse_encoder": config.sparse_encoder, **training}
    of_each = {
        f"r2_{modality}": f"R² against the mean of all entries of {modality}, last training steps"
        for modality in config.modalities
    }
    texts = {**of_each, **_MEASURES}
    measured = {text: f"{measures[key]:.4g}" for key, text in texts.items() if key in measures}
    tables = "\n\n".join(_table(title, rows) for title, rows in (("measure", measured), ("setting", settings)) if rows)
    return f"""---
library_name: isoenergy
tags:
- sparse-autoencoder
- interpretability{tag}
---

# {kind} for {_plain(encoder)}

{config.atoms:,} atoms over {_embeddings(config)}, k = {config.k}, β = {config.beta:g}. {meaning}

```python
{_example(config)}
```

{tables}

Trained with [isoenergy](https://arxiv.org/abs/2602.06218). The weights are safetensors; nothing is unpickled.
"""


def _embeddings(config: SaeConfig) -> str:
    if not config.widths:
        return f"embeddings of width {config.dim}"
    each = zip(config.modalities, config.widths, strict=True)
    return f"vectors with a dictionary each: {', '.join(f'{_plain(name)} of width {width}' for name, width in each)}"


def _example(config: SaeConfig) -> str:
    first = config.modalities[0]
    if not config.widths:
        return f"""from isoenergy import SparseAutoencoder

sae = SparseAutoencoder.load("{PLACEHOLDER}")  # or this folder
codes = sae.encode(sae.prepare(embeddings, "{first}"))  # raw embeddings, (batch, {config.dim}), float32"""
    return f"""from isoenergy.sae.joint import JointAutoencoder

sae = JointAutoencoder.load("{PLACEHOLDER}")  # or this folder
codes = sae.encode(sae.prepare(vectors, "{first}"), "{first}")  # raw vectors, (batch, {config.widths[0]}), float32"""


def _table(title: str, rows: Mapping[str, object]) -> str:
    lines = [f"| {title} | value |", "|---|---|", *(f"| {_plain(key)} | {_plain(rows[key])} |" for key in rows)]
    return "\n".join(lines)


def _plain(value: object) -> str:
    """Return the value as Markdown that shows it on one line as it is: no tag, link, emphasis, mention or new cell."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return _MARKUP.sub(r"\\\g<0>", short)
