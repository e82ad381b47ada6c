"""What the synthetic experiment came to: figures and tables over seeds."""
