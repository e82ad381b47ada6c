"""Cut the demo pairs from a folder of image-text pairs: `python -m isoenergy.bundled.making.cut_pairs SOURCE_FOLDER`.

The pairs come out 64 pixels wide with their split, beside a credits file. Same input, same files.
"""

import hashlib
import io
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from PIL import Image

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.errors import InputError
from isoenergy.pairs.splits import SPLITS, split_of

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.binary()),
        ("caption", pa.string()),
        ("concept", pa.string()),
        ("base", pa.string()),
        ("group", pa.string()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("split", pa.string()),
    ]
)
COPIED_COLUMNS = ("key", "caption", "concept", "base", "group", "source", "license")


@dataclass(frozen=True)
class Credit:
    """Who made a source's pictures, and where they are published."""

    author: str
    url: str


CREDITS: dict[str, Credit] = {
    "openclipart": Credit("Open Clip Art Library contributors (release 0.18)", "https://openclipart.org"),
    "game-icons": Credit("Lorc, Delapouite and the other contributors of game-icons.net", "https://game-icons.net"),
    "twemoji": Credit("Twitter, Inc and other contributors (jdecked/twemoji)", "https://github.com/jdecked/twemoji"),
    "noto": Credit("Google (Noto Emoji)", "https://github.com/googlefonts/noto-emoji"),
    "noto-v1": Credit("Google (Noto Emoji, first design)", "https://github.com/googlefonts/noto-emoji"),
    "fluent-emoji": Credit("Microsoft (Fluent Emoji, 3D)", "https://github.com/microsoft/fluentui-emoji"),
    "fluent-emoji-flat": Credit("Microsoft (Fluent Emoji, flat)", "https://github.com/microsoft/fluentui-emoji"),
    "emojione": Credit("EmojiOne (version 2.3)", "https://github.com/joypixels/emojione"),
    "fxemoji": Credit("Mozilla (FxEmojis)", "https://github.com/mozilla/fxemoji"),
    "flat-color-icons": Credit("Icons8", "https://github.com/icons8/flat-color-icons"),
}


@dataclass(frozen=True)
class CutConfig:
    """Which pairs are cut, and how small."""

    source_folder: tyro.conf.Positional[Path]
    """Folder of Parquet shards with key, image, caption, concept, base, group, source and license."""
    output: Path = BUNDLED_PAIRS
    """Folder to write; what it held is replaced."""
    pixels: int = 64
    """Width and height of the pictures."""
    quality: int = 75
    """WebP quality."""
    megabytes: float = 11.5
    """Room for everything, in millions of bytes; train pairs are added until it is used up."""
    shards: int = 8
    """Number of Parquet files."""


def hash_order(key: str) -> bytes:
    """Return what pairs are ordered by: any prefix of the order is a fair sample."""
    return hashlib.sha256(key.encode()).digest()


def read_source(folder: Path) -> list[dict[str, Any]]:
    """Read every row of the folder's Parquet files.

    Raises InputError if there are none, or a source has no entry in CREDITS.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} holds no *.parquet files; give the folder that holds the pairs' shards")
    columns = [*COPIED_COLUMNS, "image"]
    rows: list[dict[str, Any]] = pa.concat_tables([pq.read_table(file, columns=columns) for file in files]).to_pylist()
    uncredited = {row["source"] for row in rows} - set(CREDITS)
    if uncredited:
        raise InputError(f"{folder} has pairs of {sorted(uncredited)}; add them to CREDITS in {__name__} first")
    return rows


def shrink(image: bytes, pixels: int, quality: int) -> bytes:
    """Return the picture as WebP of `pixels` × `pixels`."""
    with Image.open(io.BytesIO(image)) as picture:
        small = picture.convert("RGB").resize((pixels, pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def cut(rows: list[dict[str, Any]], config: CutConfig) -> list[dict[str, Any]]:
    """Return every held-out pair, and train pairs in hash order for as long as they fit.

    A row's size is counted before compression, so the files come out no larger than `config.megabytes`.
    """
    ordered = sorted(rows, key=lambda row: (split_of(row["key"]) == "train", hash_order(row["key"])))
    room = config.megabytes * 1e6
    chosen = []
    for row in ordered:
        copied = {column: row[column] for column in COPIED_COLUMNS}
        image = shrink(row["image"], config.pixels, config.quality)
        room -= len(image) + sum(len(text.encode()) for text in copied.values())
        if room < 0:
            break
        chosen.append({**copied, "image": image, "split": split_of(row["key"])})
    return sorted(chosen, key=lambda row: hash_order(row["key"]))


def credits_text(pairs: list[dict[str, Any]]) -> str:
    """Return the credits file: who drew what, under which licence, and what was changed."""
    counts = Counter((pair["source"], pair["license"]) for pair in pairs)
    splits = Counter(pair["split"] for pair in pairs)
    table = [
        f"| {source} | {count:,} | {license_} | {CREDITS[source].author} | <{CREDITS[source].url}> |"
        for (source, license_), count in counts.most_common()
    ]
    return "\n".join(
        [
            "# Credits",
            "",
            f"{len(pairs):,} image-text pairs ("
            + ", ".join(f"{splits[split]:,} {split}" for split in SPLITS)
            + "), written by `python -m isoenergy.bundled.making.cut_pairs`.",
            "Changed from the originals: drawn on white, scaled down, stored as WebP. Each row keeps its `source` and",
            "its `license` (SPDX; CC-PDDC is the public domain).",
            "",
            "| source | pairs | licence | author | published at |",
            "|---|---:|---|---|---|",
            *table,
            "",
            "Labels and keywords of emoji in the captions: Unicode CLDR annotations (Unicode-3.0) through",
            "[emojibase](https://github.com/milesj/emojibase) (MIT). Labels of the other pictures: their file names",
            "and their authors' keywords.",
            "",
        ]
    )


def write(pairs: list[dict[str, Any]], config: CutConfig) -> None:
    """Write the shards and the credits file to a temporary folder, then put it in place of `config.output`."""
    config.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.output.parent, prefix=".cut-") as temporary:
        folder = Path(temporary, "pairs")
        folder.mkdir()
        table = pa.Table.from_pylist(pairs, schema=SCHEMA)
        for shard in range(config.shards):
            first, end = (len(pairs) * edge // config.shards for edge in (shard, shard + 1))
            pq.write_table(table.slice(first, end - first), folder / f"pairs-{shard:02d}.parquet", compression="zstd")
        (folder / "CREDITS.md").write_text(credits_text(pairs))
        if config.output.exists():
            shutil.rmtree(config.output)
        folder.rename(config.output)


def main(config: CutConfig) -> None:
    """Cut, write, and say what came out."""
    pairs = cut(read_source(config.source_folder), config)
    write(pairs, config)
    size = sum(file.stat().st_size for file in config.output.iterdir())
    splits = Counter(pair["split"] for pair in pairs)
    print(f"{config.output}: {len(pairs):,} pairs in {config.shards} shards, {size / 1e6:.2f} MB, {dict(splits)}")


if __name__ == "__main__":
    main(tyro.cli(CutConfig, description=__doc__))
