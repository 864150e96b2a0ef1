"""The starter's tokenizer: a byte-level BPE that reads chemistry.

A text is first cut into *pieces* by one regular expression: step headers of a trace, prompt words, bracket atoms, two-letter atoms,
morphemes of systematic names, formula hydrogens, words; every other character stands alone. A piece that is in the vocabulary is one
token (``ignore_merges``); any other piece falls back to learnt merges and, in the end, to its UTF-8 bytes. So every text round-trips,
and nothing is ever merged across pieces.

Why SMILES atoms are *not* merged with their neighbours (``CC``, ``(=O)``): counting, copying and editing atoms is what the tasks are
about, and a model of 0.7M parameters counts tokens, not the letters inside them. A starter SMILES has about ten tokens this way, so
there is little length to win. Names and prompts are the opposite: ``methyl`` or ``cyclo`` is one idea, and cutting names at morphemes
rather than at frequent letter pairs gives the same idea the same token in every name.

Only the small ``tokenizers`` wheel is imported here; the folder that :func:`train_tokenizer` writes loads with transformers'
``AutoTokenizer``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence
from tokenizers.trainers import BpeTrainer

from actors.end_tokens import end_tokens, read_tokenizer
from chemr.chat_template import ChatTemplate
from chemr.prompts import TAGS
from rewards.answer import THINK_CLOSE, THINK_OPEN

PAD, BOS, EOS, USER, ASSISTANT = "<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, USER, ASSISTANT)

CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ '<|user|>' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|eos|>' }}{% endgeneration %}"
    "{%- else -%}{{ raise_exception('this chat template knows the roles user and assistant, not ' + message['role']) }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)

# Words of the prompts (chemr.prompts), of the captions and of the traces, and the functional groups of TOMG-Bench. A word swallows the
# space after it, so that the molecule behind it begins with the same token everywhere.
PROMPT_WORDS = (  # noqa: SIM905 - words are easier to read as words
    "Formula of the compound SMILES Name Molecule with atoms bonds groups Add to Remove from Replace by in Increase Decrease logP "
    "refractivity Product Reactants Reactant make described as single double triple aromatic rotatable none chain ring carbons at bond "
    "fluorine chlorine bromine benzene hydroxyl anhydride aldehyde ketone carboxyl ester amide amine nitro halo nitrile thiol sulfide "
    "disulfide sulfoxide sulfone borane"
).split()

# Morphemes of systematic names. Each holds a letter that no SMILES has outside brackets (or an l or r without its C or B), so that
# none can cut a SMILES in two; a test says so.
NAME_MORPHEMES = (  # noqa: SIM905
    "meth eth prop but pent hex hept oct nona dec cyclo bicyclo spiro iso neo tert sec "
    "an en yn yl ylidene ol al one oic oate oyl ate ane ene yne thiol thial dial diol dione di tri tetra bis tris "
    "amine amino amide amido imine imino imidazol nitrile nitro nitroso cyano azido azo diazo hydroxy oxy oxo ether acid peroxy "
    "carboxylic carbaldehyde carbonitrile carbonyl carboxamide carbox formyl acetyl acetate formate formamide acetamide "
    "fluoro chloro bromo iodo chloride bromide fluoride iodide sulfanyl sulfinyl sulfonyl sulfon sulfin thio mercapto "
    "cyan ato acet acetic oxide carbam azan azin azir azet thiet thiep thiadiazol oxathi ine ide id ic "
    "oxan oxol oxiran oxet thian thiiran aziridin azetidin pyrrolidin pyrrolid piperidin piperazin morpholin "
    "benzene benz phen phenyl phenol anilin toluene pyridin pyrimidin pyrazin pyridazin pyrazol pyrrol furan thiophen thiazol oxazol "
    "triazol tetrazol hydrazin hydrazine hydroxylamine guanidin urea urethan methoxy ethoxy allyl vinyl hydro phospho phosph sil"
).split()

# Pieces that are one token whatever the training texts hold.
_ALWAYS_WHOLE = ("Cl", "Br", "[nH]", "[N+]", "[O-]", "[NH3+]", "[NH2+]", "[NH+]", "[n+]", "[S+]", "[C@H]", "[C@@H]", "[C@]", "[C@@]", "[H]")
_MINIMUM_COUNT = 2  # a piece seen once is no piece


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(sorted(set(words), key=lambda word: (-len(word), word)))


PIECE_PATTERN = "|".join(
    (
        r"\n?\d{1,2}\. \*\*[^*\n]{1,60}\*\*: ?",  # the header of a numbered bold step
        rf"\b(?:{_alternatives(PROMPT_WORDS)})\b ?",
        r"\[[^\[\]\s]{1,16}\]",  # bracket atom (and the bracket of a von Baeyer name)
        r"%\d\d",  # two-digit ring closure
        r"H\d{1,2}(?!\d)",  # hydrogens of a formula: one number, one token
        r"Cl|Br",
        rf"(?:{_alternatives(NAME_MORPHEMES)})",
        r"(?<![A-Za-z0-9])\d{1,2} ",  # a count before the thing counted
        r"[,:;.] ",
        r"[A-Za-z](?=[A-Za-z]*[adefghijkmqtuvwxyz])[A-Za-z]*",  # a run of letters that is no SMILES
        r"[\s\S]",
    )
)


def train_tokenizer(texts: Iterable[str], out_dir: Path, vocab_size: int = 512) -> ChatTokenizer:
    """Learn the vocabulary from ``texts`` and write a Hugging Face tokenizer folder (``tokenizer.json``, ``tokenizer_config.json``).

    The vocabulary: special tokens, the four tags, 256 bytes, the pieces that save most tokens over ``texts``, and, where room is left,
    BPE merges learnt on the remaining words. It has ``vocab_size`` entries at most. The result depends only on the multiset of texts.

    Raises:
        ValueError: ``vocab_size`` cannot hold the bytes and the tokens that are always there.
    """
    alphabet = sorted(ByteLevel.alphabet())
    entries = _least_entries()
    if vocab_size < len(entries):
        raise ValueError(f"vocab_size={vocab_size} is too small: bytes, tags, special tokens and atoms take {len(entries)} entries already")
    counts = _piece_counts(texts)
    taken = set(entries)
    saving = {piece: count * (len(piece) - 1) for piece, count in counts.items() if count >= _MINIMUM_COUNT and piece not in taken}
    ranked = sorted((piece for piece in saving if saving[piece] > 0), key=lambda piece: (-saving[piece], piece))
    entries += ranked[: vocab_size - len(entries)]
    rest = {piece: count for piece, count in counts.items() if piece not in set(entries)}
    entries, merges = _with_merges(entries, alphabet, rest, vocab_size)
    tokenizer = _assemble(entries, merges)
    out_dir.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out_dir / "tokenizer.json"))
    (out_dir / "tokenizer_config.json").write_text(json.dumps(_hf_config(), indent=2) + "\n", encoding="utf-8")
    return ChatTokenizer(tokenizer)


def smallest_vocabulary() -> int:
    """The least ``vocab_size`` of :func:`train_tokenizer`."""
    return len(_least_entries())


def _least_entries() -> list[str]:
    return [*SPECIAL_TOKENS, *TAGS, *sorted(ByteLevel.alphabet()), *_ALWAYS_WHOLE]


class ChatTokenizer:
    """Prompts and completions to token ids and back, for one tokenizer folder.

    Texts given to it are data: the text ``<|eos|>`` in a prompt becomes bytes, not the end-of-sequence token. The ids of a prompt equal
    those of transformers' ``apply_chat_template(..., add_generation_prompt=True)`` for every text without special-token text in it.

    Args:
        template: of a model with a tokenizer of its own; None for those that :func:`train_tokenizer` makes.
        named_ends: the tokens that the model folder's files name as ends (:func:`actors.end_tokens.end_tokens`).

    Attributes:
        eos_id: the tokenizer's own end-of-sequence token.
        turn_end_id: what closes an answer in training: the token that the chat template closes an assistant's turn with, else ``eos_id``.
        end_ids: every token that ends an answer, ascending: those two and what the folder's files name.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None = None, named_ends: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # the text of a special token is text
        self._template = template
        if template is not None:
            eos = template.token_id("eos_token")
            if eos is None:
                raise ValueError(f"the tokenizer does not have its own end-of-sequence token {template.tokens['eos_token']!r}")
            self.eos_id = eos
            self.bos_id = _first(template.token_id("bos_token"), eos)
            self.pad_id = _first(template.token_id("pad_token"), eos)
            self.turn_end_id = _first(template.turn_end(), eos)
            self.end_ids = tuple(sorted({eos, self.turn_end_id, *named_ends}))
            return
        found = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        ids: dict[str, int] = {token: index for token, index in found.items() if index is not None}
        missing = sorted(found.keys() - ids.keys())
        if missing:
            raise ValueError(f"this tokenizer lacks the special tokens {missing}; it was not made by chemr.tokenization.train_tokenizer")
        self.pad_id, self.bos_id, self.eos_id = ids[PAD], ids[BOS], ids[EOS]
        self.turn_end_id = self.eos_id
        self.end_ids = tuple(sorted({self.eos_id, *named_ends}))
        self._role_ids = {"user": ids[USER], "assistant": ids[ASSISTANT]}

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Read the tokenizer of a model folder: one of ours, or any with a chat template.

        Raises:
            FileNotFoundError: there is no tokenizer. ValueError: one that is damaged or has no chat template; the message names the file.
        """
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer at {path}: expected a folder written by train_tokenizer or exported with a model")
        tokenizer = read_tokenizer(Path(folder))
        ours = all(tokenizer.token_to_id(token) is not None for token in SPECIAL_TOKENS)
        return cls(tokenizer, None if ours else ChatTemplate.read(Path(folder)), end_tokens(Path(folder)))

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, nothing added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids of a conversation, ending with the assistant marker: the model continues from here.

        Raises:
            ValueError: a message has a role other than user and assistant, or the model's own template refuses it.
        """
        if self._template is not None:
            return self._template.encode(messages)
        ids = [self.bos_id]
        for message in messages:
            role = message["role"]
            if role not in self._role_ids:
                raise ValueError(f"message role {role!r} is not known; this chat template has {sorted(self._role_ids)}")
            ids.append(self._role_ids[role])
            ids.extend(self.encode(message["content"]))
            if role == "assistant":
                ids.append(self.eos_id)
        return [*ids, self._role_ids["assistant"]]

    @property
    def opening(self) -> str:
        """What every prompt has already written of the answer and left open: ``<think>`` and the blanks after it, or nothing."""
        return "" if self._template is None else self._template.opening

    def encode_completion(self, text: str) -> list[int]:
        """Ids of a completion with the token that closes it.

        Where the prompt has opened the thinking (:attr:`opening`), the completion does not open it again; one that has no thinking closes
        it first.
        """
        if self.opening:
            begun = text.lstrip()
            text = begun.removeprefix(THINK_OPEN).lstrip("\n") if begun.startswith(THINK_OPEN) else THINK_CLOSE + text
        return [*self.encode(text), self.turn_end_id]

    def decode_completion(self, ids: Sequence[int]) -> str:
        """Text of an answer, with what the prompt has opened of it: the opposite of :meth:`encode_completion` up to blanks."""
        return self.opening + self.decode(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without special tokens. Bytes that are no UTF-8 (a model may write any) become U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _first(wanted: int | None, otherwise: int) -> int:
    return otherwise if wanted is None else wanted


def _pre_tokenizer() -> PreTokenizerSequence:
    return PreTokenizerSequence(
        [Split(Regex(PIECE_PATTERN), behavior="isolated"), ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)]
    )


def _piece_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each piece occurs, in the byte alphabet. The tags are cut out first, as the finished tokenizer does."""
    cutter = PreTokenizerSequence([Split(Regex("|".join(TAGS)), behavior="removed"), _pre_tokenizer()])
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(piece for piece, _ in cutter.pre_tokenize_str(text))
    return counts


def _with_merges(
    entries: list[str], alphabet: list[str], rest: Mapping[str, int], vocab_size: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Fill the vocabulary up with BPE merges learnt on the pieces that did not get a token of their own."""
    room = vocab_size - len(entries)
    if room == 0 or not rest:
        return entries, []
    learner = Tokenizer(BPE())
    trainer = BpeTrainer(
        vocab_size=len(alphabet) + room, min_frequency=_MINIMUM_COUNT, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    repeated = (piece for piece in sorted(rest) for _ in range(rest[piece]))
    learner.train_from_iterator(repeated, trainer)
    known = set(entries)
    merges: list[tuple[str, str]] = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    return entries + [joined for joined in dict.fromkeys(a + b for a, b in merges) if joined not in known], merges


def _assemble(entries: Sequence[str], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(entries)}, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


def _hf_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "model_max_length": 1_000_000,
        "chat_template": CHAT_TEMPLATE,
    }
