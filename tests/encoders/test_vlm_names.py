import pytest

from isoenergy.encoders.vlm_names import VlmName, by_model, encoder_names, short_name
from isoenergy.errors import InputError
from isoenergy.settings.hidden_states import HiddenStates

ALL = HiddenStates("all", 9, image_prompt="See, {image} & what?", chat=True)


@pytest.mark.parametrize("reading", [HiddenStates(), HiddenStates("last"), ALL])
def test_a_name_says_all_that_rows_depend_on(reading: HiddenStates) -> None:
    name = VlmName("/models/at@home", 12, reading)
    assert VlmName.parse(str(name)) == name
    assert "," not in str(name)
    assert short_name(str(name)) == "vlm:/models/at@home@12"


def test_numbers_behind_a_layer_are_further_layers() -> None:
    names = encoder_names("clip, vlm:/a@4,8, 12,hf:b,vlm:c@1?pooling=last,2", ALL)
    layers = [str(VlmName("/a", layer, ALL)) for layer in (4, 8, 12)]
    last = [str(VlmName("c", layer, HiddenStates("last"))) for layer in (1, 2)]
    assert names == ["clip", *layers, "hf:b", *last]
    assert by_model([*names, "vlm:/a@1"]) == [[0], [1, 2, 3], [4], [5, 6], [7]]


def test_settings_that_nothing_is_read_with_are_refused() -> None:
    assert encoder_names("clip,8", HiddenStates()) == ["clip", "8"]
    with pytest.raises(InputError, match=r"--vlm\.pooling: of vlm:FOLDER@LAYER encoders alone, and clip is none"):
        encoder_names("clip", HiddenStates("last"))
