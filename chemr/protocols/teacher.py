"""The programmatic teacher: computes every step of a task's protocol with RDKit and writes it down.

It knows the gold answer, as the synthesiser of Chem-R's second phase may, and every claim it makes is true of the question or of that
answer. It is the starter's stand-in for a large language model behind the same stage.
"""

from __future__ import annotations

from chemr.data.example import Example
from chemr.protocols import editing, generation, naming, reactions
from chemr.protocols.steps import Protocol, Step, write_steps

PROTOCOLS: dict[str, Protocol] = {
    protocol.task: protocol for protocol in (*naming.PROTOCOLS, *generation.PROTOCOLS, *editing.PROTOCOLS, *reactions.PROTOCOLS)
}


def write_trace(example: Example) -> str:
    """The reasoning for ``example``, without tags.

    Raises:
        ValueError: there is no protocol for its task, or the example holds a molecule that RDKit cannot read.
    """
    protocol = PROTOCOLS.get(example.task)
    if protocol is None:
        raise ValueError(f"example {example.uid}: no protocol for task {example.task!r}; known tasks: {', '.join(sorted(PROTOCOLS))}")
    claims = protocol.claims(example)
    return write_steps([Step(title, claim) for title, claim in zip(protocol.titles, claims, strict=True)])
