"""What is measured, as pieces that a step graph runs: each reads folders, writes one folder, returns a JSON result.

The map steps read a part of the store each and write sums; the reduce steps merge them. What cannot be had from sums is
measured on pairs drawn at random, whose number is a setting, so that no step holds the data.

    measured_rows       which pairs are measured, and reading them
    embeddings          the embeddings alone: means, the pairs that are drawn, the queries and what is right for them
    fit                 what is fitted, on pairs of the train split: the classes of atoms, moments for the baselines
    carried             the same, of the store that an SAE was trained on, in a file beside it
    ways                the ways to close the gap: what each is called, and where it is shown
    concepts            codes, and the sums over them
    embedding_variants  embeddings as they are, rebuilt, without classes of atoms, moved by baselines
    measured_geometry   the gap under each variant, p_acc
    measured_retrieval  retrieval under each variant
    measured_bridges    rho and FDA, with their controls
    spectra             where the energy lies, over the energies of atoms
    dictionary          the dictionary's shape, and how few atoms carry a row
    atom_map            the dictionary in two dimensions, with the bridges between its atoms
    top_pairs           the pairs that fire each atom most, and how strongly atoms fire
    exemplars           atoms as a table, their strongest pairs, and pairs along the gap and across it
    explorer_atoms      what the report shows of every atom: these pairs with their pictures, and its partners
    comparison          SAEs against each other, and who wins
    modalities/         any number of modalities
    tasks/              what tasks are measured on, of the store and of others; and measuring them
"""
