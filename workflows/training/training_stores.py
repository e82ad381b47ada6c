"""The stores that a training reads."""

from dataclasses import dataclass

from isoenergy.settings.modalities import MODALITIES


@dataclass(frozen=True)
class TrainingStores:
    """Where pairs come from: one store of any modalities, or one of images and one of texts that are not paired."""

    images: str
    texts: str
    """The same, if pairs are."""

    @property
    def paired(self) -> bool:
        """Whether row i of images and texts belong together."""
        return self.images == self.texts

    def parts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return, for each index: its file in the output, its store, and the modalities that are read, none for all."""
        if self.paired:
            return [("index.json", self.images, ())]
        return [("index-images.json", self.images, MODALITIES[:1]), ("index-texts.json", self.texts, MODALITIES[1:])]
