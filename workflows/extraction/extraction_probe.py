"""What a few pairs take: the measures of `isoenergy embed --dry-run`, measured before anything is written."""

import time
from dataclasses import dataclass
from itertools import islice

import ray
import torch

from isoenergy.encoders.precision import cosine_to_float32
from isoenergy.errors import InputError
from isoenergy.extraction.embedding import encode, prepare, separate, taken_by, with_embeddings
from isoenergy.pairs.source import PairSource, PairUnit, RawPairs
from isoenergy.store.writer import parquet_bytes
from workflows.cluster.gpu import given_device
from workflows.cluster.waiting import result_of, waiting_tasks
from workflows.extraction.extraction_encoding import PAIRS_TO_COMPARE
from workflows.extraction.extraction_graph import cpus_of_this_node
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_stores import Stores

PAIRS = 200
_WARM_UP_PAIRS = 8
_DECODING_CPUS_BESIDE_AN_ENCODER = 1.0


@dataclass(frozen=True)
class Probe:
    """What some pairs took, on one worker."""

    pairs: int
    rejected: int
    seconds: dict[str, float]
    """Of read, decode and encode."""
    stored_bytes: int
    """In all stores."""
    raw_bytes: int
    """Of keys, images and captions, as found."""
    cosine: float
    """The lowest of an embedding to itself in float32."""

    def pairs_per_second(self, placement: Placement) -> float:
        """Return what the whole cluster may come to: its slowest stage, where each has its own processors."""
        preparing = (self.seconds["read"] + self.seconds["decode"]) / self.pairs
        encoding = self.seconds["encode"] / self.pairs
        if not placement.gpus_per_actor:  # the encoder takes every core, and so does decoding
            return placement.actors[1] / (encoding + preparing / max(1.0, placement.cpus / placement.actors[1]))
        cpus = max(_DECODING_CPUS_BESIDE_AN_ENCODER, placement.cpus - placement.actors[1])
        return min(placement.actors[1] / encoding, cpus / preparing)


def probe(units: list[PairUnit], source: PairSource, stores: Stores, placement: Placement, patience: float) -> Probe:
    """Measure on the cluster, with the resources of an encoder actor; `units` are read until there are enough pairs.

    patience: seconds that it may wait for room. Raises what reading raises.
    """
    task = ray.remote(num_cpus=1, num_gpus=placement.gpus_per_actor, max_retries=0)(_probe)
    waiting = waiting_tasks("embed", patience, {"CPU": 1, "GPU": placement.gpus_per_actor})
    measured: Probe = result_of(task.remote(units, source, stores, placement.gpus_per_actor > 0), waiting)
    return measured


def _probe(units: list[PairUnit], source: PairSource, stores: Stores, on_gpu: bool) -> Probe:
    if not on_gpu:
        torch.set_num_threads(cpus_of_this_node())
    return probe_on(given_device(on_gpu), units, source, stores)


def probe_on(device: torch.device, units: list[PairUnit], source: PairSource, stores: Stores) -> Probe:
    """Measure in this process; `units` are read until there are enough pairs.

    Raises what reading raises.
    """
    preprocessors = stores.load_preprocessors()
    raw, read_seconds = _read(units, source)
    start = time.perf_counter()
    prepared = [prepare(part, (), preprocessors, stores.image_reading) for part in raw]
    decode_seconds = time.perf_counter() - start
    encoders = stores.load_encoders(device)
    pairs = sum(map(len, raw))
    rejected = stored = 0
    encode_seconds, cosine = 0.0, 1.0
    for encoder, manifest in zip(encoders, stores.manifests, strict=True):
        for part in prepared:
            taken, inputs = taken_by(part, stores.pixels[encoder.name], encoder)
            encode(encoder, inputs.first(_WARM_UP_PAIRS), manifest.dtype)
            start = time.perf_counter()
            vectors = encode(encoder, inputs, manifest.dtype)
            encode_seconds += time.perf_counter() - start
            if len(inputs):
                some = inputs.first(PAIRS_TO_COMPARE)
                compared = cosine_to_float32(encoder, some.pixels, some.tokens)
                cosine = min(cosine, compared.image, compared.text)
            unit = PairUnit("probe", 0, None)
            shard, refused = separate(
                with_embeddings(taken, *vectors), unit, manifest.dim, manifest.dtype, stores.passed_through
            )
            stored += len(parquet_bytes(shard)) + len(parquet_bytes(refused))
            rejected += len(refused)
    return Probe(
        pairs=pairs,
        rejected=rejected // len(encoders),
        seconds={"read": read_seconds, "decode": decode_seconds, "encode": encode_seconds},
        stored_bytes=stored,
        raw_bytes=sum(_bytes(part) for part in raw),
        cosine=cosine,
    )


def _read(units: list[PairUnit], source: PairSource) -> tuple[list[RawPairs], float]:
    """Return the first pairs, and the seconds of reading them; units that cannot be read are passed over."""
    parts: list[RawPairs] = []
    trouble: Exception | None = None
    start = time.perf_counter()
    for unit in units:
        wanted = PAIRS - sum(map(len, parts))
        if wanted <= 0:
            break
        try:
            parts += islice(source.read(unit, wanted), 1)
        except Exception as error:  # as in a run, it costs the unit alone
            trouble = error
    if not parts:
        why = " ".join(str(trouble).split())
        raise InputError(f"none of the first {len(units)} units of {source.uri} can be read ({why})")
    return parts, time.perf_counter() - start


def _bytes(part: RawPairs) -> int:
    passed_through: int = part.passed_through.nbytes
    return sum(len(item or b"") for item in (*part.images, *part.captions)) + passed_through
