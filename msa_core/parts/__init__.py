"""Other fusions, distances, label sources and balances than the paper's; `msa_core.build` builds them."""
