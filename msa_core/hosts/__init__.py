"""Other people's models as hosts of alignment and label generation, one file each; `msa_core.build` builds them."""
