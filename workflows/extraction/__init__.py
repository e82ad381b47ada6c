"""What `isoenergy embed` runs on the cluster: its plan, placement, graph and workers."""
