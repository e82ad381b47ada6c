"""What `isoenergy train` runs on the cluster: what it reads, its plan, placement and workers."""
