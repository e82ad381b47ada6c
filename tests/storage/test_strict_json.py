import json
import math

from isoenergy.storage import strict_json

VALUE = {"a": [1.5, math.inf, {"b": -math.inf}], "c": None, "d": "text", "e": True, "f": (1, 2)}


def test_what_is_not_finite_comes_back_and_any_reader_takes_the_text() -> None:
    text = strict_json.dumps(VALUE)
    assert strict_json.loads(text) == {**VALUE, "f": [1, 2]}
    assert math.isnan(strict_json.loads(strict_json.dumps([math.nan]))[0])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["a"][1] == "Infinity"
