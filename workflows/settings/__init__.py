"""What command lines ask for, a module a stage: `--help` and refused settings wait for no stage, nor for torch."""
