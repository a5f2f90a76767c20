"""The tokenizer that presidio's context words need, and the switch to presidio's own NLP configuration.

presidio raises a score when a context word ("ssn", "phone") stands near a hit; without tokens that words are lost, and
its default engine would try to download a model. `TokenNlpEngine` splits text into words and nothing more: no model, no
network, and, unlike a spaCy vocabulary, no table that keeps every word it ever saw in memory.

Imports presidio (and with it spaCy): only the engine's worker thread imports this module.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine, NlpEngineProvider
from spacy.lang.en.stop_words import STOP_WORDS

LANGUAGE = "en"
_TOKEN = re.compile(r"[^\s,;:()\[\]{}\"'<>=|/]+|\S")


class TokenNlpEngine(NlpEngine):
    """Words, their places, and their lower-case form as lemma; no entities."""

    def load(self) -> None:
        """Nothing to load."""

    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        tokens: list[str] = []
        starts: list[int] = []
        for match in _TOKEN.finditer(text):
            tokens.append(match[0])
            starts.append(match.start())
        return NlpArtifacts([], cast(Any, tokens), starts, [token.lower() for token in tokens], self, language)

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, language: str) -> bool:
        return word in STOP_WORDS

    def is_punct(self, word: str, language: str) -> bool:
        return not any(char.isalnum() for char in word)

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return [LANGUAGE]


def make_engine(configuration: Any) -> NlpEngine:
    """The engine that masking.yaml names: `token`, or presidio's own configuration as a mapping."""
    if configuration == "token":
        return TokenNlpEngine()
    if not isinstance(configuration, Mapping):
        raise ValueError("nlp_engine is neither `token` nor a mapping")
    return NlpEngineProvider(nlp_configuration=dict(configuration)).create_engine()
