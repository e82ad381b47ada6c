"""MLflow's comparison page, of a search's real trainings, in a real browser.

ISOENERGY_SCREENSHOT=FILE.png writes what the browser shows there: that is how the README's picture was made.
"""

import json
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isoenergy.store.batches import PairBatches
from isoenergy.synthetic.generator import SyntheticConfig, generate
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer, TrainingConfig
from tests.browser import chromium
from tests.workflows.tracking.mlflow_server import MlflowServer
from tests.workflows.tracking.told_searches import children
from workflows.tracking import mlflow_runs
from workflows.tracking.search_tracking import SearchTracking
from workflows.tracking.system_metrics import system_metrics

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]

BETAS, EXPANSIONS = (0.0, 1e-3, 1e-2), (2, 4)
SHOWN = ("reconstruction_loss", "r2_image", "r2_text", "bimodal_energy", "always_on_energy", "l0")
SECONDS_TO_LOAD = 240
WIDTH, HEIGHT = 1600, 1720
ASSISTANT = "xpath=//*[text()='MLflow Assistant']/ancestor::*[count(.//button)>=3][1]//button"


@dataclass(frozen=True)
class Searched:
    server: MlflowServer
    parent: mlflow_runs.Run
    runs: dict[str, str]
    """Ids by name."""


@pytest.fixture(scope="module")
def searched(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Six autoencoders, trained on pairs with known atoms and reported as a search does."""
    folder = tmp_path_factory.mktemp("search")
    pairs = generate(SyntheticConfig(dim=64, instances=60, pairs=2000), seed=0)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
        with mlflow_runs.stage("tune", {"sampler": "grid"}, str(folder)) as parent:
            search = SearchTracking(parent, str(folder), "/data/synthetic", "5eed" * 16)
            for beta, expansion in product(BETAS, EXPANSIONS):
                train(search, f"beta-{beta:g} ×{expansion}", beta, expansion, pairs.images, pairs.texts, folder)
            search.register_best("beta-0.01 ×4", "synthetic", "best")
            assert search.close(600) == 0
        runs = {name: run.info.run_id for name, run in children(parent).items()}
    return Searched(mlflow_server, parent, runs)


def train(
    search: SearchTracking,
    candidate: str,
    beta: float,
    expansion: int,
    images: np.ndarray,
    texts: np.ndarray,
    folder: Path,
) -> None:
    config = TrainingConfig(
        beta=(beta,), expansion=expansion, k=8, epochs=6, batch_pairs=100, learning_rate=1e-2, log_every=4
    )
    search.begin(
        candidate, {"beta": beta, "expansion": expansion, "k": config.k, "learning_rate": config.learning_rate}
    )
    trainer = Trainer(config, PairBatches.of_arrays(images, texts, config.batch_pairs, seed=0), images.shape[1])

    def report(step: int, metrics: Metrics, _: SaveCheckpoint | None) -> None:
        own = {name.rpartition("/")[2]: value for name, value in metrics.items() if "/" in name}
        search.metrics(candidate, step, {**{name: own[name] for name in SHOWN}, **system_metrics()})

    trainer.run(report)
    trainer.group.saes[0].save(folder / candidate)
    search.end(candidate, "FINISHED", model=folder / candidate)


def test_the_comparison_page_shows_the_runs_side_by_side(searched: Searched, tmp_path: Path) -> None:
    picture = Path(os.environ.get("ISOENERGY_SCREENSHOT") or tmp_path / "comparison.png")
    ids = json.dumps(list(searched.runs.values()))
    address = f"{searched.server.uri}/#/compare-runs?runs={ids}&experiments={json.dumps([searched.parent.experiment])}"
    with chromium() as started:
        page = started.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(SECONDS_TO_LOAD * 1000)
        page.goto(address)
        page.get_by_text("bimodal_energy").first.wait_for()
        if page.locator(ASSISTANT).count():
            page.locator(ASSISTANT).nth(2).click()  # its third button closes it
        page.get_by_text("beta-0 ×2", exact=True).wait_for()
        page.wait_for_timeout(2000)  # the plot is drawn again in its new width
        text = page.inner_text("body")
        page.screenshot(path=picture)
    for words in (*searched.runs, "beta", "expansion", *SHOWN):
        assert words in text
    with Image.open(picture) as image:
        assert image.size == (WIDTH, HEIGHT)
        image.quantize(256, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
