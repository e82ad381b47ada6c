"""The arena: methods for paired embeddings, each fitted under one budget and measured by one set of measures."""
