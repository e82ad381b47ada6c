"""What `isoenergy evaluate` runs: the graphs of steps, and which tasks they measure."""
