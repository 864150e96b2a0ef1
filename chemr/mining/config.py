"""Settings of protocol mining (docs/mining.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from actors.generator_config import GeneratorConfig


class TeacherKind(StrEnum):
    """Who writes the traces."""

    endpoint = "endpoint"  # any server that speaks OpenAI's chat completions
    pool = "pool"  # a model folder, served by engines of chemr's own pool
    programmatic = "programmatic"  # the program of chemr.protocols, which needs the gold answer: a rehearsal without a model


class LengthField(StrEnum):
    """How a server calls the limit on generated tokens."""

    max_tokens = "max_tokens"
    max_completion_tokens = "max_completion_tokens"


@dataclass
class EndpointConfig:
    """An OpenAI-compatible server.

    Attributes:
        base_url: of the API, e.g. ``http://localhost:8000/v1``.
        model: the name the server knows the model by.
        key_env: name of the environment variable that holds the key; null = the server wants none. The key itself is in no file and no log.
        concurrency: requests in flight at once.
        requests_per_minute, tokens_per_minute: the account's limits; 0 = none. Tokens count prompt and ``max_tokens``, then what was used.
        timeout_s: of one try of one request.
        retries: further tries after time-outs, lost connections, status 408, 409, 429 and 5xx; waits grow, ``Retry-After`` is kept.
        give_up_after: requests in a row that failed with all their tries, after which mining stops.
        price_in, price_out: per million prompt and generated tokens, in any currency; null = cost is not counted.
        budget: stop before this much is spent, counting everything ever answered in the folder; null = no limit. Needs both prices.
        length_field: how the server calls the limit on generated tokens.
        send_seed: send a seed with every request, so that the same request gives the same text where the server can do that.
        system_role: the model's chat template has a system role; false = instructions and question are one message.
        extra_body: further fields of every request, e.g. ``{chat_template_kwargs: {enable_thinking: false}}``.
    """

    base_url: str | None = None
    model: str | None = None
    key_env: str | None = "OPENAI_API_KEY"
    concurrency: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    timeout_s: float = 180.0
    retries: int = 6
    give_up_after: int = 20
    price_in: float | None = None
    price_out: float | None = None
    budget: float | None = None
    length_field: LengthField = LengthField.max_tokens
    send_seed: bool = True
    system_role: bool = True
    extra_body: dict[str, Any] = field(default_factory=dict)

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"mining.endpoint.base_url={self.base_url!r} should be a URL such as http://localhost:8000/v1")
            if parts.username or parts.password or parts.query:
                raise ValueError("mining.endpoint.base_url must hold no password, key or query: name the key's variable in key_env")
        if self.key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            # The value is not repeated: it may be a key that somebody put here by mistake.
            raise ValueError("mining.endpoint.key_env is not the name of an environment variable; the key itself does not belong there")
        for name in ("concurrency", "give_up_after", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"mining.endpoint.{name}={getattr(self, name)} must be positive")
        for name in ("requests_per_minute", "tokens_per_minute", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"mining.endpoint.{name}={getattr(self, name)} is negative; use 0 for none")
        for name in ("price_in", "price_out", "budget"):
            value = getattr(self, name)
            if value is not None and not value >= 0.0:
                raise ValueError(f"mining.endpoint.{name}={value} must be 0 or more")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("mining.endpoint.price_in and price_out belong together; one of them is missing")
        if self.budget is not None and self.price_in is None:
            raise ValueError(f"mining.endpoint.budget={self.budget} needs price_in and price_out, without which nobody knows the cost")
        ours = {"model", "messages", "temperature", "top_p", "seed", "n", "stream", *LengthField} & set(self.extra_body)
        if ours:
            raise ValueError(
                f"mining.endpoint.extra_body holds {', '.join(sorted(ours))}, for which there are settings (or which must stay)"
            )


@dataclass
class PoolTeacherConfig:
    """A model served by generators of a pool that is started for it. ``pool.address``, ``pool.num_cpus``, ``pool.object_store_mb`` and
    ``pool.timing`` hold for it as for any pool.

    Attributes:
        model: a Hugging Face folder with weights, tokenizer and chat template.
        generators, generator_cpus, generator_gpus: how many engines, and what Ray reserves for each.
        concurrency: requests in flight at once, over all engines.
        give_up_after: requests in a row that failed with all their tries, after which mining stops.
        system_role: the model's chat template has a system role; false = instructions and question are one message.
        engine: of each generator. Its ``max_model_len`` holds a prompt and ``mining.max_tokens``; with ``tensor_parallel`` above 1 it is
            split over as many GPUs, which ``generator_gpus`` then has to reserve.
    """

    model: str | None = None
    generators: int = 1
    generator_cpus: float = 1.0
    generator_gpus: float = 0.0
    concurrency: int = 64
    give_up_after: int = 20
    system_role: bool = True
    engine: GeneratorConfig = field(default_factory=lambda: GeneratorConfig(max_model_len=4_096, prefix_caching=True))

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name in ("generators", "concurrency", "give_up_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"mining.pool.{name}={getattr(self, name)} must be at least 1")
        for name in ("generator_cpus", "generator_gpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"mining.pool.{name}={getattr(self, name)} is negative; a share of what Ray reserves is 0 or more")
        try:
            self.engine.validate()
        except ValueError as error:
            raise ValueError(str(error).replace("generator.", "mining.pool.engine.")) from error
        split = self.engine.tensor_parallel
        if self.engine.device == "cuda" and (self.generator_gpus <= 0 or (split > 1 and self.generator_gpus != split)):
            raise ValueError(
                f"mining.pool.generator_gpus={self.generator_gpus:g} with mining.pool.engine.device=cuda and tensor_parallel={split}: an "
                f"engine sees only the GPUs that Ray reserves for it; set mining.pool.generator_gpus={split}"
            )


@dataclass
class ClusterConfig:
    """From steps to protocols.

    Attributes:
        embedding_model: folder of a sentence-embedding model (transformers), mean-pooled; null = TF-IDF of words and letters.
        max_clusters: most clusters of a task; their number is the one with the best silhouette.
        max_traces_per_task: traces whose steps are clustered, drawn by the seed; 0 = all.
        min_support: share of a task's traces that must have a step for it to enter the protocol.
        max_steps: steps of a protocol, the most frequent ones.
        share_at: cosine of two tasks' clusters from which they are one shared hint.
    """

    embedding_model: str | None = None
    max_clusters: int = 12
    max_traces_per_task: int = 400
    min_support: float = 0.3
    max_steps: int = 8
    share_at: float = 0.75

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        if self.embedding_model is not None and not (Path(self.embedding_model) / "config.json").is_file():
            raise ValueError(f"mining.cluster.embedding_model={self.embedding_model} is not a model folder: it has no config.json")
        if self.max_clusters < 2 or not 1 <= self.max_steps <= 20 or self.max_traces_per_task < 0:
            raise ValueError(
                f"mining.cluster: max_clusters={self.max_clusters} must be 2 or more, max_steps={self.max_steps} 1 to 20, "
                f"max_traces_per_task={self.max_traces_per_task} 0 (all) or more"
            )
        for name in ("min_support", "share_at"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"mining.cluster.{name}={getattr(self, name)} is outside (0, 1]")


@dataclass
class FilterConfig:
    """What a synthesised trace must be like.

    Attributes:
        min_chars, max_chars: of the reasoning.
        title_similarity: in 0..100, from which a step's title is the protocol's (rapidfuzz ratio of the normalised titles).
        extra_steps: steps beside those of the protocol that a trace may have.
        repeated_share: share of repeated word 6-grams from which a text repeats itself.
        foreign_share: share of letters in other scripts than the Latin one from which a text is in another language.
    """

    min_chars: int = 10
    max_chars: int = 8_000
    title_similarity: float = 82.0
    extra_steps: int = 2
    repeated_share: float = 0.35
    foreign_share: float = 0.05

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        if not 0 <= self.min_chars < self.max_chars:
            raise ValueError(f"mining.filter.min_chars={self.min_chars} must be 0 or more and below max_chars={self.max_chars}")
        if not 0.0 < self.title_similarity <= 100.0:
            raise ValueError(f"mining.filter.title_similarity={self.title_similarity} is outside (0, 100]")
        if self.extra_steps < 0:
            raise ValueError(f"mining.filter.extra_steps={self.extra_steps} is negative; use 0 for none")
        for name in ("repeated_share", "foreign_share"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"mining.filter.{name}={getattr(self, name)} is outside (0, 1]")


@dataclass
class SelectConfig:
    """Which of the traces that passed are trained on.

    Attributes:
        per_task: most traces of a task; 0 = no limit.
        per_question: most traces of one question.
        task_ratio: no task gets more than this many times the traces of the task with the fewest (of those that have any); 0 = no limit.
        difficulty_bins: equal shares are taken from so many ranges of difficulty, as far as they hold enough.
        near_duplicate: similarity in 0..100 (rapidfuzz ratio) from which two traces of one question are the same.
    """

    per_task: int = 2_000
    per_question: int = 2
    task_ratio: float = 0.0
    difficulty_bins: int = 4
    near_duplicate: float = 95.0

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name, least in (("per_task", 0), ("per_question", 1), ("difficulty_bins", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"mining.select.{name}={getattr(self, name)} must be {least} or more")
        if self.task_ratio != 0.0 and not self.task_ratio >= 1.0:
            raise ValueError(f"mining.select.task_ratio={self.task_ratio} must be 0 (no limit) or at least 1")
        if not 0.0 < self.near_duplicate <= 100.0:
            raise ValueError(f"mining.select.near_duplicate={self.near_duplicate} is outside (0, 100]")


@dataclass
class MiningConfig:
    """Protocol mining.

    Attributes:
        teacher: see :class:`TeacherKind`.
        endpoint: the server, for ``teacher=endpoint``.
        pool: the model and its engines, for ``teacher=pool``.
        questions_per_task: training rows that are asked to find protocols.
        samples: traces of each of them without the gold answer shown, and as many with it shown.
        synthesis_questions_per_task: training rows that traces along the protocol are written for.
        synthesis_samples: traces of each of them.
        synthesis_shows_answer: show the teacher the gold answer when it writes along the protocol.
        temperature, top_p, max_tokens: of the teacher's sampling.
        cluster, filter, select: of those steps.
    """

    teacher: TeacherKind = TeacherKind.endpoint
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    pool: PoolTeacherConfig = field(default_factory=PoolTeacherConfig)
    questions_per_task: int = 50
    samples: int = 2
    synthesis_questions_per_task: int = 500
    synthesis_samples: int = 3
    synthesis_shows_answer: bool = True
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 2_048
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    select: SelectConfig = field(default_factory=SelectConfig)

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name in ("questions_per_task", "samples", "synthesis_questions_per_task", "synthesis_samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"mining.{name}={getattr(self, name)} must be at least 1")
        if not 0.0 <= self.temperature <= 2.0:
            raise ValueError(f"mining.temperature={self.temperature} is outside [0, 2]")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"mining.top_p={self.top_p} is outside (0, 1]")
        for part in (self.endpoint, self.pool, self.cluster, self.filter, self.select):
            part.validate()
        longest = self.pool.engine.max_model_len
        if self.teacher is TeacherKind.pool and self.max_tokens >= longest:
            raise ValueError(
                f"mining.max_tokens={self.max_tokens} leaves no room for a prompt within mining.pool.engine.max_model_len={longest}; lower "
                "the one or raise the other"
            )
