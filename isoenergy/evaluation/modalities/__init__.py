"""The steps of an evaluation of any number of modalities."""
