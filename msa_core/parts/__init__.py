"""Other fusions, distances and label sources than the paper's, each with its source; `msa_core.build` builds them."""
