"""What a report calls the modalities: image and text, or the columns of vectors that it is about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.text import Text

from isoenergy.settings.modalities import MODALITIES

_WORDS = re.compile(r"\b(image|text|caption)(s?)\b")


@dataclass(frozen=True)
class Naming:
    """Says our own sentences, written for images and texts, of any two modalities; what is data is left as it is."""

    modalities: Sequence[str]
    """The names of the first, `image` in our sentences, and of the second, `text` or `caption`."""

    def __call__(self, sentence: str) -> str:
        """Return the sentence with the modalities' names; as it is, if they are image and text."""
        if self._changes_nothing:
            return sentence
        return _WORDS.sub(self._name, sentence)

    def in_figure(self, figure: Figure) -> Figure:
        """Return the figure, whose texts have the modalities' names."""
        if self._changes_nothing:  # looking for all texts makes every tick anew
            return figure
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(self(text.get_text()))
        return figure

    @property
    def _changes_nothing(self) -> bool:
        return tuple(self.modalities) == MODALITIES

    def _name(self, word: re.Match[str]) -> str:
        return self.modalities[word[1] != "image"] + " vectors" * bool(word[2])
