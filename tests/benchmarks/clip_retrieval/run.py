"""clip-retrieval's `clip_inference` on a folder of tars; run by the Python of an environment of its own.

The last line that it prints is JSON: how many pairs, and where the seconds went.
"""

import argparse
import json
import os
import time
from pathlib import Path

STARTED = time.perf_counter()
OFFLINE = {"HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("tars", type=Path, help="folder of .tar files")
    parser.add_argument("output", type=Path, help="folder for the embeddings; must not exist")
    parser.add_argument("weights", type=Path, help="an open_clip checkpoint, such as open_clip_model.safetensors")
    parser.add_argument("--arch", default="ViT-B-32", help="the checkpoint's architecture by open_clip's name")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--num-prepro-workers", type=int, default=4)
    parser.add_argument("--output-partition-count", type=int, default=1, help="files of each kind")
    asked = parser.parse_args()
    if asked.output.exists():
        parser.error(f"{asked.output} exists; embeddings of two runs would mix")
    tars = sorted(str(tar.absolute()) for tar in asked.tars.glob("*.tar"))
    if len(tars) < max(1, asked.num_prepro_workers):  # a worker without a tar raises, and then clip_inference hangs
        parser.error(
            f"{asked.tars} holds {len(tars)} tars for {asked.num_prepro_workers} workers, which share them out"
        )
    os.environ.update(OFFLINE)

    import numpy as np
    import torch
    from clip_retrieval import clip_inference

    imported = time.perf_counter()
    clip_inference(
        input_dataset="{" + ",".join(tars) + "}" if len(tars) > 1 else tars[0],
        output_folder=str(asked.output.absolute()),
        input_format="webdataset",
        batch_size=asked.batch_size,
        num_prepro_workers=asked.num_prepro_workers,
        clip_model=f"open_clip:{asked.arch}/{asked.weights.absolute()}",
        use_jit=False,
        output_partition_count=asked.output_partition_count,
    )
    finished = time.perf_counter()

    stats = json.loads((asked.output / "stats" / "0.json").read_text())
    written = sum(len(np.load(file, mmap_mode="r")) for file in (asked.output / "img_emb").glob("*.npy"))
    seconds, in_batches = finished - STARTED, stats["total_duration"]
    result = {
        "pairs": written,
        "pairs_per_second": written / seconds,
        "pairs_per_second_in_batches": stats["sample_count"] / in_batches,
        "seconds": seconds,
        "import_seconds": imported - STARTED,
        "start_and_end_seconds": finished - imported - in_batches,
        "read_seconds": stats["read_duration"],
        "encode_seconds": stats["inference_duration"],
        "write_seconds": stats["write_duration"],
        "batch_size": asked.batch_size,
        "num_prepro_workers": asked.num_prepro_workers,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print("\n" + json.dumps(result))


if __name__ == "__main__":  # clip_inference starts processes that import this file again
    main()
