"""The embedding store: a folder, or a prefix on an object store, of plain Parquet and JSON.

This page is the format, version 3. Any Parquet reader reads `shards/*.parquet` of a store that is whole.

`manifest.json`
    How the store was made: `isoenergy.store.manifest.Manifest`, field by field. A run may add to a store only if all
    fields agree with its own but `encoder`, `source`, `source_images`, `units` and `software`, which inform.

`files.json`
    The source's files in the order in which they came to the store. Of pairs with one key, the one that stands first in
    this order, and then in its file, is embedded; the others are rejected.

`shards/UNIT.parquet`
    The embedded pairs of a unit in the order of the input, zstd, the embeddings plain; one row a pair:
    `key` string, unique in the store; `row` int64, its number in the input file; `split` string: train, validation or
    test, from the SHA-256 of the key; `caption` string; `image` and `text`, the raw outputs of the encoder, not
    normalised, as fixed_size_list<float16 or float>[dim]. None of these is null. Then what passes through from the
    source, under its own name, or `source_NAME` if that is one of the store's (with a number behind it, as
    `source_text_2`, where the source has a column of that name too; `source_unnamed` for one without a name).

`rejected/UNIT.parquet`
    The other pairs of the unit, if there are any: `key` (null if there is none that can be read), `file`, `row`,
    `reason` (a code of `isoenergy.pairs.rejection.Reason`, which is closed) and `detail`, for people.

`commits/UNIT.json`
    The unit's commit record, written last: `isoenergy.store.manifest.CommitRecord`. A unit is a file of the source, or
    a range of its rows; its name follows from the file's name and the first row. rows_in = embedded + rejected, always;
    `shard` names the file in `shards/` and `rejected/`, with digests. **A unit without a record does not exist**, and
    neither does a file that no record names.

`index.parquet`
    All commit records in one table, by unit, so that opening a store takes two requests at any size: a column for each
    field, and `listed`, what the listing of `commits/` said of the record's file (size, ETag or time). The records are
    the truth: one that is listed otherwise is read, and one that is not listed is none. The file's metadata has
    `generation`, how often the records have been folded, and `settled`: `false` from when a run begins to when it ends.
    Of an index that is not settled, or has fewer units than the manifest says, the records are listed and read on top;
    one that cannot be read is none. Where a run has ended and there is none, whoever opens the store makes it.

`survey-train.parquet`
    What training has found when it looked at each shard once (its digest, keys, and rows that cannot be normalised):
    `shard`, `shard_sha256`, `pairs` of the split, `bad` (which row, and why, by its number among those); in the
    metadata, `sums` of the good pairs' unit rows by modality, as JSON. `survey-train-image.parquet` if only images were
    looked at. It holds for as long as all its shards have these digests; shards that it lacks are looked at and added.

`summary.json`
    What the store holds and what the last run took; it informs. Of vectors that were joined by key, `unplaced` says
    how many rows of further files have a key that the first lacks, or had before; they are in no unit. Of a
    table of captions it has how many rows have none there, and how many of its own are captions of no row.

A store that was made of vectors (`isoenergy.store.vector_sources`) has, in place of `image` and `text`, a column for
each modality under the name that it has in the source, as the manifest's `widths` say; a `split` that the source gave
is kept.

A view, which `isoenergy import --view` makes, is such a store without its columns of vectors: these lie in the source's
files, under the manifest's `view_of`. The metadata `isoenergy.lent` of a shard's Parquet is a JSON object that has for
each such column `place` (the `file`, below that place; the `column` there; for arrays, `array`: `dtype`, `shape` and
the `offset` of the first byte; of a Lance dataset, its `version`), `start` and `stop`, between which the rows of the
shard lie in it as its column `row` says, and `sha256` of them: `(pairs, width)`, of the manifest's `dtype`, row by row,
little-endian.

A store of a layer of a generative model has `hidden_states` in its manifest: the layer, the prompts, which tokens.
Where all tokens were taken, the rows of a pair stand together, keyed `PAIR#0`, `PAIR#1`, …, with one `row`, in one
split, and a commit record has `rows_by_split`, the shard's rows; its other counts are of pairs.

A store that `isoenergy apply` made of another has that store's `key`, `row`, `split` and `caption`, chosen columns, and
for each modality `MODALITY_atoms` and `MODALITY_coefficients` (lists of one length in a row, the largest coefficient
first) and columns of vectors, `MODALITY_NAME`, as `widths` say. The manifest's `applied` is not empty, a record's
`file_digest` is the SHA-256 of the shard that was read, and `fitted/` has what the classes of atoms came from.

Every file is written whole: locally under a hidden temporary name, synced and renamed; on an object store by one PUT,
or one completed upload in parts. A pair that is tried again gives its unit a shard with a digest in its name, a new
record, and only then is the old shard removed. A run that ends well removes what no record names.

**One process opens a store.** A part of an evaluation, a worker of a training, a decoder: each is told by its driver
what it is to read – shards, how many pairs they have, which rows are bad – and asks for nothing else, so that a run
takes as many requests as there are shards to read, not shards times workers. `tests/workflows/test_store_requests.py`
counts them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
