"""An autoencoder applied to every row of a store: codes, and vectors with the gap closed, as columns."""
