"""A model card is front matter that parses and Markdown in which no name acts as markup."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from markdown_it import MarkdownIt

from isoenergy.sae.model_card import PLACEHOLDER, model_card
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import JumpReLU

CONFIG = SaeConfig(dim=512, atoms=4096, k=20, beta=0.0025)
TRAINING = {"epochs": 5, "store fingerprint": "ab" * 32 + ", " + "cd" * 32}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "a \\| b",
    "ends with a backslash\\",
    "\\",
    "[here](https://example.org)",
    "![](https://example.org/x.png)",
    "https://example.org and www.example.org, mail@example.org",
    "`code` ``more``",
    "**bold** _x_ ~~gone~~ $x^2$",
    "&lt;b&gt; &#124;",
    "closing #",
    "<!-- a comment",
    "[x]: https://example.org",
    "x" * 119 + "|" + "\\" * 200,
    "|" * 300,
]
LINES = [
    "a\n---\n# another title",
    "a\r\n\r\n```\nb",
    "a\u2028b\x0bc\x1b[31md",
    "\u202egnp.exe",
    "lone \udcff surrogate",
]


class Page(HTMLParser):
    """Tags, and the texts of headings and cells."""

    def __init__(self, card: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
        self.feed(renderer.render(card.split("---\n", 2)[2]))
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "h1":
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1][0] == "h1" and self.get_starttag_text() == "<h1>" and data.strip():
            self.texts[-1] += data
        if self.tags[-1][0] in ("td", "th") and data.strip():
            self.rows[-1][-1] += data


def test_front_matter_says_what_is_known_and_no_licence() -> None:
    card = model_card(CONFIG, "clip", TRAINING, {})
    assert card.startswith("---\n")
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "library_name": "isoenergy",
        "tags": ["sparse-autoencoder", "interpretability", "vision-language"],
    }


MEASURES = {"r2_image": 0.91234, "bimodal_energy": 0.8, "validation_r2": 0.9, "other": 1.0}


def test_settings_measures_and_fingerprints_are_rows() -> None:
    config = SaeConfig(512, 4096, 20, 0.0, JumpReLU(l0=0.3))
    page = Page(model_card(config, "hf:openai/clip-vit-base-patch32", TRAINING, MEASURES))
    assert page.texts == ["A sparse autoencoder for hf:openai/clip-vit-base-patch32"]
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["R² against the mean of all entries of image, last training steps"] == ["0.9123"]
    assert rows["share of the energy in bimodal atoms, last training steps"] == ["0.8"]
    assert rows["R² against the mean of all entries, on held-out pairs (validation split)"] == ["0.9"]
    assert rows["atom_norm"] == ["unit"]
    assert rows["sparse_encoder"] == ["jump-relu:l0=0.3,threshold=0.05,bandwidth=0.05"]
    assert rows["store fingerprint"] == [TRAINING["store fingerprint"]]
    assert "other" not in rows


def test_a_null_model_says_so_in_its_title_its_first_sentences_and_its_settings() -> None:
    card = model_card(replace(CONFIG, null=True), "clip", TRAINING, {})
    page = Page(card)
    assert page.texts == ["A null model (a sparse autoencoder trained on shuffled pairs) for clip"]
    assert ["null", "True"] in page.rows
    assert "with the text of another" in card
    assert "aligned" not in card
    true = model_card(CONFIG, "clip", TRAINING, {})
    assert "null model" not in true
    assert "atoms that both modalities share" in true


def test_it_tells_how_to_load_it_and_compiles() -> None:
    code = model_card(CONFIG, "clip", {}, {}).split("```")[1].removeprefix("python\n")
    compile(code, "card", "exec")
    assert f'load("{PLACEHOLDER}")' in code


def test_without_measures_there_is_no_empty_table() -> None:
    assert [row for row in Page(model_card(CONFIG, "clip", {}, {})).rows if row[0] == "measure"] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_acts_as_markup(name: str) -> None:
    plain = Page(model_card(CONFIG, "plain", {"encoder": "plain", "plain": 1}, {}))
    page = Page(model_card(CONFIG, name, {"encoder": name, name: 1}, {}))
    assert page.tags == plain.tags
    shown = name if len(name) <= 200 else name[:199] + "…"
    assert page.texts == [f"An aligned sparse autoencoder (SAE-A) for {shown}"]
    assert ["encoder", shown] in page.rows
    assert [shown, "1"] in page.rows


@pytest.mark.parametrize("name", LINES)
def test_a_name_stays_on_its_line_and_is_text(name: str) -> None:
    card = model_card(CONFIG, name, {"encoder": name}, {})
    assert Page(card).tags == Page(model_card(CONFIG, "plain", {"encoder": "plain"}, {})).tags
    assert all(line.isprintable() for line in card.split("\n"))
    assert card.encode()


@pytest.mark.parametrize("name", ["https://example.org", "HTTP://example.org", "see www.example.org", "a@example.org"])
def test_no_name_becomes_a_link_by_itself(name: str) -> None:
    title = next(line for line in model_card(CONFIG, name, {}, {}).split("\n") if line.startswith("# "))
    assert not any(start in title.lower() for start in ("http://", "https://", "www.", "a@"))
