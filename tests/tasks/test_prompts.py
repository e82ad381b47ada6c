from pathlib import Path

import pytest
import torch

from isoenergy.errors import InputError
from isoenergy.tasks.prompts import TEMPLATES, class_embeddings, fill, load_templates


def test_clip_has_its_80_templates_and_all_take_a_class() -> None:
    assert len(set(TEMPLATES["clip"])) == 80
    assert all("{}" in template for templates in TEMPLATES.values() for template in templates)


def test_a_class_is_named_in_every_template_as_it_is() -> None:
    assert fill(["a {}", "{} and {}"], ["cat", "{0.__class__}"]) == [
        "a cat",
        "cat and cat",
        "a {0.__class__}",
        "{0.__class__} and {0.__class__}",
    ]


def test_a_class_is_the_mean_of_its_prompts_at_norm_1_however_long_they_are() -> None:
    prompts = torch.tensor([[100.0, 0.0], [0.0, 1.0], [0.0, -3.0], [0.0, -1.0]])
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]])
    torch.testing.assert_close(class_embeddings(prompts, 2), expected)


def test_templates_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("a sketch of {}\n\n  {}, drawn  \n")
    assert load_templates(str(file)) == ("a sketch of {}", "{}, drawn")
    for content, message in ((b"a sketch\n", "without {}"), (b"\n", "no templates"), (b"\xff {}", "not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_templates(str(file))
    with pytest.raises(InputError, match="name, photo, clip, icon"):
        load_templates("imagenet")
