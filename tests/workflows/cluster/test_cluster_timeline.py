from ray.core.generated.autoscaler_pb2 import ClusterResourceState, NodeStatus

from workflows.cluster.cluster_timeline import ClusterSample, cluster_sample


def node(state: ClusterResourceState, name: str, status: int, total: dict[str, float], left: dict[str, float]) -> None:
    state.node_states.add(
        ray_node_type_name=name, status=status, total_resources=total, available_resources=left, node_id=name.encode()
    )


def test_a_sample_counts_live_workers_by_type_what_waits_and_what_is_taken() -> None:
    state = ClusterResourceState()
    gpu = {"CPU": 16.0, "GPU": 1.0, "memory": 1e9}
    node(state, "head", NodeStatus.IDLE, {"CPU": 2.0, "node:__internal_head__": 1.0}, {"CPU": 1.5})
    node(state, "gpu_spot", NodeStatus.RUNNING, gpu, {"CPU": 15.0})
    node(state, "gpu_spot", NodeStatus.DRAINING, gpu, gpu)
    node(state, "gpu_spot", NodeStatus.DEAD, gpu, {})
    node(state, "", NodeStatus.IDLE, {"memory": 1e9}, {"memory": 1e9})
    state.pending_resource_requests.add(count=3)
    state.pending_resource_requests.add(count=1)
    gang = state.pending_gang_resource_requests.add()
    gang.requests.add(resources_bundle={"GPU": 1.0})
    gang.requests.add(resources_bundle={"GPU": 1.0})
    nodes = {"gpu_spot": 2, "unnamed": 1}
    assert cluster_sample(state, 7.5) == ClusterSample(7.5, nodes, 6, {"CPU": 1.5, "GPU": 1.0})
    assert cluster_sample(ClusterResourceState(), 0.0) == ClusterSample(0.0, {}, 0, {"CPU": 0, "GPU": 0})
