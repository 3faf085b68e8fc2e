"""The words of the planted texts, and a tokenizer that knows them and nothing else."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

ADJECTIVES = {  # valence -> words
    -3: ["terrible", "horrible", "dreadful", "unbearable"],
    -2: ["bad", "poor", "annoying", "weak"],
    -1: ["dull", "slow", "bland", "uneven"],
    0: ["okay", "average", "plain", "ordinary"],
    1: ["fine", "decent", "pleasant", "neat"],
    2: ["good", "enjoyable", "strong", "charming"],
    3: ["wonderful", "brilliant", "superb", "fantastic"],
}
OPENINGS = [[], ["i", "think"], ["honestly"], ["well"], ["you", "know"], ["to", "me"]]
NOUNS = ["movie", "plot", "acting", "music", "ending", "story", "director", "dialogue", "cast", "camera"]
VERBS = ["was", "felt", "seemed", "looked"]
ADVERBS = [[], [], ["really"], ["quite"], ["rather"], ["just"]]
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = list(
    dict.fromkeys(
        [
            *SPECIAL_TOKENS,
            "the",
            "and",
            *(word for words in ADJECTIVES.values() for word in words),
            *(word for words in OPENINGS for word in words),
            *NOUNS,
            *VERBS,
            *sorted({word for words in ADVERBS for word in words}),
        ]
    )
)


def planted_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the planted vocabulary (`VOCABULARY`), anything else `[UNK]`; BERT's special tokens.

    >>> planted_tokenizer()("the plot was good")["input_ids"][0] == VOCABULARY.index("[CLS]")
    True
    """
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
