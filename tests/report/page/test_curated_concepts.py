from typing import Any

import pyarrow as pa

from isoenergy.report.page.curated_concepts import curated_concepts

CAPTIONS = pa.table(
    {"pair": [*range(6)], "caption": ["a red cat", "A red  cat", "two dogs", "the sea", "a ship", "one"]}
)


def atom(number: int, energy: float, **values: Any) -> dict[str, Any]:
    row = {"atom": number, "energy": energy, "class": "bimodal", "frequency": 0.1, "agrees": True, "correlation": 0.5}
    row |= {"modality_score": 0.5, "image_pairs": [0, 2], "text_pairs": [0, 1], "strip": b"strip"}
    row |= {"image_cells": [0, 1], "text_cells": [2, 3], "image_histogram": [1], "text_histogram": [1]}
    return row | values


def curated(*rows: dict[str, Any], **pictures: Any) -> dict[str, list[Any]]:
    return curated_concepts({"name": "sae"}, pa.Table.from_pylist(list(rows)), CAPTIONS, pictures.get("given", {}))


def test_those_whose_sides_agree_most_come_first_and_always_on_ones_do_not_count() -> None:
    found = curated(
        atom(1, 3.0, correlation=0.2, text_pairs=[3]),
        atom(2, 2.0, correlation=0.9, text_pairs=[2]),
        atom(3, 9.0, agrees=False),
        atom(4, 8.0, frequency=0.99),
        atom(5, 1.0, **{"class": "image_only"}, correlation=None),
    )
    shared, images = found.values()
    assert [concept.atom for concept in shared] == [2, 1]
    assert [concept.atom for concept in images] == [5]
    assert images[0].agreement is None


def test_an_atom_like_one_that_is_shown_comes_after_others() -> None:
    (shared,) = curated(
        atom(1, 1.0, correlation=0.9), atom(2, 1.0, correlation=0.8), atom(3, 1.0, correlation=0.1, text_pairs=[3])
    ).values()
    assert [concept.atom for concept in shared] == [1, 3, 2]


def test_captions_are_different_and_pictures_are_in_the_strip_or_given() -> None:
    ((first,),) = curated(atom(1, 1.0)).values()
    assert first.captions == ["a red cat"]
    assert first.images == [(0, "a red cat", ""), (1, "two dogs", "")]
    assert first.gaps == 3
    ((second,),) = curated(atom(1, 1.0, strip=None)).values()
    assert second.images == [(-1, "a red cat", ""), (-1, "two dogs", "")]
    ((third,),) = curated(atom(1, 1.0, strip=None), given={1: [(-1, "x", "data:")]}).values()
    assert third.images == [(-1, "x", "data:")]
