"""Where the energy lies, over the energies of atoms: a curve a class, with its band."""

import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from isoenergy.report.figures.figures import COLOURS, LABELS, plain
from isoenergy.settings.modalities import MODALITIES


def energy_densities(densities: pa.Table, title: str) -> Figure:
    """Draw the density of each modality's energy over the energy of an atom in it, by class, with bands.

    densities: as `isoenergy.evaluation.spectra.densities` returns them.
    """
    figure = Figure(figsize=(4.5, 4.0), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, modality in zip(panels, MODALITIES, strict=True):
        of_modality = densities.filter(pc.equal(densities["modality"], modality))
        for name, label in LABELS.items():
            curve = of_modality.filter(pc.equal(of_modality["class"], name))
            x = 10 ** curve["log10_energy"].to_numpy()
            value, low, high = (curve[end].to_numpy() for end in ("value", "low", "high"))
            axes.fill_between(x, low, high, color=COLOURS[name], alpha=0.22, linewidth=0)
            axes.plot(x, value, color=COLOURS[name], linewidth=1.6, label=label)
        axes.set(xscale="log", ylabel=f"of {modality}s, a decade")
        plain(axes)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    panels[1].set_xlabel("energy of an atom on images, or on texts")
    return figure
