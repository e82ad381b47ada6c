"""What people keep pairs in that is not read, and what makes something of it that is."""

from collections.abc import Sequence

_ADVICE = {
    (".feather",): "Feather files; pandas.read_feather(FILE).to_parquet(OTHER) makes Parquet of them",
    (".tar.zst", ".tzst"): "tars compressed by zstd; unpack them with zstd -d, or compress them with gzip, xz or bzip2",
    (
        ".csv.gz",
        ".tsv.gz",
        ".jsonl.gz",
        ".json.gz",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".lz4",
    ): "compressed files; unpack them first",
    (".zip", ".7z", ".rar"): "archives; unpack them, or give a list of captions and the zip as --images",
    (".tfrecord", ".tfrecords"): "TFRecords; write their examples as WebDataset tars or Parquet",
    (".h5", ".hdf5", ".npz", ".npy", ".mat"): "arrays; write them as Parquet with columns of image bytes and captions",
    (".mdb", ".lmdb", ".db", ".sqlite", ".rec", ".mds", ".beton", ".msgpack"): "a database of records; write them as "
    "Parquet with columns of image bytes and captions",
    (".pkl", ".pickle", ".pt", ".pth"): "pickles, which can run any code and are never opened; write Parquet with "
    "columns of image bytes and captions",
    (".xlsx", ".xls", ".ods"): "a spreadsheet; save it as CSV",
    (".orc", ".avro"): "files that pyarrow or pandas can write as Parquet",
    (".mp4", ".webm", ".mkv", ".avi", ".mov"): "videos; cut pictures out of them first, as with ffmpeg",
}


def conversion_of(files: Sequence[str]) -> str | None:
    """Return what files of a known kind are, and what to convert them with; None if they are of none."""
    for suffixes, advice in _ADVICE.items():
        if any(file.lower().endswith(suffixes) for file in files):
            return advice
    return None
