"""Settings of random searches: what is refused, and that all of a shipped space can be trained."""

import pytest
from pydantic import ValidationError

from msa_core.config import Search, resolve, search, searches
from msa_core.config.searches import OneOf, Uniform

SEARCH = {
    "question": 7,
    "title": "Which?",
    "dataset": "planted_phase",
    "variant": "paper",
    "reference": "no_alignment",
    "space": {
        "rate": {"kind": "uniform", "settings": ["training.groups.rest.learning_rate"], "low": 0.001, "high": 0.01},
        "batch": {"kind": "one_of", "settings": ["training.batch_size"], "values": [8, 16]},
    },
    "trials": 3,
    "trial_seeds": [1, 2],
    "seeds": "5-6",
}
RATE = SEARCH["space"]["rate"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [2, 3]}, r"got seeds \[2\] for the trials and for comparing"),
        ({"space": {"rate": RATE, "again": RATE}}, "got training.groups.rest.learning_rate in two places"),
        ({"space": {"noise": RATE | {"settings": ["dataset.planted.label_noise"]}}}, "got dataset.planted.label_noise"),
        ({"space": {"rate": RATE | {"high": 0.001}}}, "expected low below high$|expected low below high "),
        ({"space": {"rate": RATE | {"low": 0.0, "log": True}}}, "expected low below high, above 0"),
        ({"space": {"batch": {"kind": "one_of", "settings": ["training.batch_size"], "values": [8]}}}, "at least 2"),
    ],
)
def test_what_cannot_be_searched_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Search(**SEARCH | change)


@pytest.mark.parametrize("name", searches())
def test_every_end_of_a_shipped_space_is_a_setting_of_both_variants(name):
    study = search(name)
    for variant in study.variants:
        for searched in study.space.values():
            assert isinstance(searched, Uniform | OneOf)
            ends = searched.values if isinstance(searched, OneOf) else (searched.low, searched.high)
            for value in ends:
                changed = resolve(study.dataset, variant, overrides=dict.fromkeys(searched.settings, value))
                differences = changed.differences(resolve(study.dataset, variant))
                assert set(differences) <= set(searched.settings)
