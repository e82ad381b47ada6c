"""The report: figures, a verdict in words, and one HTML page that needs no network."""
