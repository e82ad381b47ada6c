"""What a run of `isoenergy embed` came to, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from isoenergy.counts import counted
from isoenergy.store import EmbeddingStore
from workflows.extraction.extraction_graph import STAGES, ExtractionProgress


@dataclass(frozen=True)
class ExtractionMeasures:
    """One run: pairs and the time they took."""

    pairs: int = 0
    """Pairs that went through, embedded or rejected."""
    rejected: int = 0
    seconds: float = 0.0
    """From the first unit to the last commit."""
    work_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Over all workers, by stage."""
    encoder_wait_seconds: float = 0.0
    """Over all encoders, in which they had nothing to encode."""
    cosine_to_float32: tuple[float, ...] = ()
    """The lowest seen, by encoder, if they compute in bfloat16."""

    @classmethod
    def of(cls, progress: ExtractionProgress, seconds: float) -> Self:
        """Take what has been counted."""
        return cls(
            progress.pairs,
            progress.rejected,
            seconds,
            dict(progress.seconds),
            progress.waited,
            tuple(progress.cosines),
        )

    @property
    def pairs_per_second(self) -> float:
        """Return the throughput; 0 if nothing was done."""
        return self.pairs / self.seconds if self.seconds else 0.0

    @property
    def encoder_busy(self) -> float:
        """Return the share of the encoders' time in which they encoded."""
        encoding = self.work_seconds["encode"]
        return encoding / (encoding + self.encoder_wait_seconds) if encoding else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the measures under the names that MLflow gets."""
        values = {f"{stage}_seconds": seconds for stage, seconds in self.work_seconds.items()}
        cosines = {f"cosine_to_float32_{number}": value for number, value in enumerate(self.cosine_to_float32)}
        return {
            "pairs": self.pairs,
            "rejected": self.rejected,
            "seconds": self.seconds,
            "pairs_per_second": self.pairs_per_second,
            "encoder_busy": self.encoder_busy,
            **values,
            **cosines,
        }


def progress_text(progress: ExtractionProgress) -> str:
    """Return the rejected pairs and the split of the work, short enough for a progress line."""
    return f"{progress.rejected:,} rejected, {_split(progress.seconds)}"


def summary_json(store: EmbeddingStore, measures: ExtractionMeasures) -> str:
    """Return the store's `summary.json`: what it holds, and what the run that completed it came to."""
    content: dict[str, Any] = {
        "encoder": store.manifest.encoder,
        "dim": store.manifest.dim,
        "units": len(store.commits),
        "rows_in": store.rows_in,
        "embedded": store.embedded,
        **({"rows": len(store)} if len(store) != store.embedded else {}),
        "rejected": store.rejected,
        "fingerprint": store.fingerprint,
        "run": asdict(measures)
        | {"pairs_per_second": measures.pairs_per_second, "encoder_busy": measures.encoder_busy},
    }
    return json.dumps(content, indent=2) + "\n"


def table(stores: Sequence[EmbeddingStore], measures: ExtractionMeasures) -> str:
    """Return the table that ends a run."""
    width = max(len(store.manifest.encoder) for store in stores)
    lines = [f"{'encoder':<{width}}  {'dim':>5}  {'pairs in':>12}  {'embedded':>12}  {'rejected':>9}  store"]
    lines += [
        f"{store.manifest.encoder:<{width}}  {store.manifest.dim:>5}  {store.rows_in:>12,}  {store.embedded:>12,}  "
        f"{sum(store.rejected.values()):>9,}  {store.uri}"
        for store in stores
    ]
    if rows := [f"{len(store):,}" for store in stores if len(store) != store.embedded]:
        lines.append(f"rows: {', '.join(rows)}, one for each token that was taken")
    lines += [f"{'':<{width}}  {count:>12,} {reason}" for reason, count in sorted(stores[0].rejected.items())]
    if measures.pairs:
        lines.append(
            f"this run: {counted(measures.pairs, 'pair')} in {measures.seconds:,.0f} s, "
            f"{measures.pairs_per_second:,.0f} pairs/s; "
            f"work {_split(measures.work_seconds)}; encoders busy {measures.encoder_busy:.0%}"
        )
    if measures.cosine_to_float32:
        cosines = ", ".join(f"{cosine:.5f}" for cosine in measures.cosine_to_float32)
        lines.append(f"bfloat16: the lowest cosine to float32 is {cosines}")
    return "\n".join(lines)


def _split(seconds: dict[str, float]) -> str:
    total = sum(seconds.values()) or 1.0
    return " ".join(f"{stage} {value / total:.0%}" for stage, value in seconds.items())
