"""Ray's provider of nodes that are processes on this machine, with the memory that their type says they have."""

import json
import os
from typing import Any
from unittest.mock import patch

from ray._private.ray_constants import RESOURCES_ENVIRONMENT_VARIABLE
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class FakeMachines(FakeMultiNodeProvider):
    """Ray's own refuses a node type that says how much memory it has."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: dict[str, float], labels: Any
    ) -> None:
        others = {kind: amount for kind, amount in resources.items() if kind != "memory"}
        memory = json.dumps({"memory": resources["memory"]})
        with self.lock, patch.dict(os.environ, {RESOURCES_ENVIRONMENT_VARIABLE: memory}):
            super()._create_node_with_resources_and_labels(node_config, tags, count, others, labels)
