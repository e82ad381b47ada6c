"""MLflow: runs, metrics, models and comparisons. No other room knows it."""
