"""What `isoenergy apply` is asked for."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from isoenergy.errors import InputError
from isoenergy.store.manifest import StoredDtype
from workflows.arguments import parse_config
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience


@dataclass(frozen=True)
class ApplyConfig:
    """Apply an SAE to every row of a store. What a killed run has committed is kept: run the same command again."""

    sae: Annotated[str, tyro.conf.Positional]
    """SAE that `isoenergy train` made: a folder, an fsspec URL or hf:ORG/NAME; or another library's, such as
    saelens:FOLDER."""
    store: str
    """Embedding store that `isoenergy embed` made, or vectors that are there already, as `isoenergy import` takes them:
    a store of them, a view if it can be, is made in the output, unless you give the one that training has made."""
    output: str = "runs/applied"
    """Folder or fsspec URL of what is written: a store again, in plain Parquet, a row a pair."""
    write: str = "codes"
    """What is written of each modality, with commas between. codes: MODALITY_atoms and MODALITY_coefficients, lists,
    the largest coefficient first. Vectors, as MODALITY_NAME, under the names that an evaluation has for them: original,
    of unit norm; reconstructed, from all atoms; bimodal or unimodal, from those atoms alone; less_unimodal, the row
    less what its unimodal atoms rebuild; equalised, less_unequal; bimodal_subspace, without_unimodal_subspace;
    matched_removal; and, without the SAE: centred, without_own_mean, standardised, midpoint_shift, random_shift,
    without_gap_dimensions, without_gap_direction, canonical_correlation, whitened, coral."""
    columns: str = ""
    """Further columns of the store to write, with commas between, one that has a comma in its name in double quotes;
    key, row, split and caption are always there."""
    layouts: str = ""
    """What else to write, with commas between. npy: the vectors in folders as clip-retrieval has them, npy/NAME/img_emb
    and so on. csr: the codes as SciPy's sparse matrices, csr/MODALITY_N.npz, a unit each. lance: all of it as a Lance
    dataset, in a local folder."""
    evaluation: str = ""
    """Take the atoms' classes and the modalities' means and covariances from this evaluation of the SAE: its folder or
    its evaluation.json. Default: those that the SAE carries, of what it was trained on; else they are fitted on the
    store's train split. The plan says which."""
    fit_pairs: int = 20_000
    """Pairs of the train split to fit on, if there is nothing else."""
    normalise: bool = False
    """Scale the vectors that are written to unit norm."""
    dtype: StoredDtype = "float16"
    """Precision of the vectors and coefficients that are written."""
    seed: int = 0
    """Of random_shift and matched_removal."""
    workers: int | None = None
    """Most workers at once, of one CPU each. Default: as many as the cluster may hold."""
    gpus_per_worker: float = 0.0
    """GPUs of a worker; a fraction puts several on one. Reading and writing take longer than encoding on a GPU."""
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    modalities: str = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have
    one width, of 16 or more."""
    skip_bad_rows: bool = False
    """Leave out bad rows of vectors in Parquet instead of refusing them."""
    dry_run: bool = False
    """Print the plan, with the time and the bytes that one unit took, and stop."""

    HOW_IT_IS_RUN: ClassVar = ("workers", "gpus_per_worker", "patience", "dry_run")

    def __post_init__(self) -> None:
        require_patience(self.patience)
        if self.fit_pairs < 1:
            raise InputError(f"fit_pairs must be at least 1, got {self.fit_pairs}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, got {self.workers}")
        gpus = self.gpus_per_worker
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise InputError(f"gpus_per_worker must be 0, a fraction of one or a whole number, got {gpus}")
        if len(set(self.chosen)) < len(self.chosen):
            raise InputError(f"columns must be different names with commas between; got {self.columns!r}")
        _ = self.laid_out

    @property
    def writes(self) -> tuple[str, ...]:
        """The names of what is written."""
        from isoenergy.applying.written_choices import parse_writes  # needs torch, and --help does not

        return parse_writes(self.write)

    @property
    def laid_out(self) -> tuple[str, ...]:
        """The names of the layouts beside Parquet."""
        from isoenergy.applying.written_layouts import parse_layouts

        return parse_layouts(self.layouts, self.writes, self.chosen)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The further columns."""
        names = next(csv.reader([self.columns], skipinitialspace=True), [])
        return tuple(name.rstrip() for name in names if name.strip())


def parse(arguments: Sequence[str] | None) -> ApplyConfig:
    """Return what a command line asks for."""
    return parse_config(ApplyConfig, arguments, "isoenergy apply")
