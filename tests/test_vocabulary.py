"""Oracles: sentences split at their spaces by hand."""

import subprocess
import sys

from msa_core.vocabulary import VOCABULARY, planted_tokenizer


def test_a_token_is_a_word():
    tokenizer = planted_tokenizer()
    ids = tokenizer("The PLOT was zebra")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "the", "plot", "was", "[UNK]", "[SEP]"]
    assert tokenizer.pad_token_id == 0


def test_every_word_has_one_id():
    tokenizer = planted_tokenizer()
    assert len(set(VOCABULARY)) == len(VOCABULARY) == len(tokenizer)
    words = [word for word in VOCABULARY if not word.startswith("[")]
    assert tokenizer(" ".join(words), add_special_tokens=False)["input_ids"] == list(range(4, len(VOCABULARY)))


def test_it_imports_nothing_else_of_the_package():
    script = "import msa_core.vocabulary, sys; print(*sorted(name for name in sys.modules if 'msa_core' in name))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["msa_core", "msa_core.vocabulary"]
