"""The receiving end of the *direct* transport, inside an engine's process: a thread that receives a broadcast while the engine samples.

consumes   an offer, the layout it will bring, the digest it was published with
waits for  the learner's rank 0 and the other receivers
unblocked by  their arrival, or the offer's time limit
produces   one version of the weights in memory beside the model's, on its device; or the reason why not
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from actors.collective import CollectiveError, Offer, receive
from actors.weights import TensorSlot, bucket_starts, content_digest, unpack


class WeightReceiver:
    """One per engine process; one broadcast at a time.

    The memory is kept from version to version: it costs what the (whole, not sharded) model costs, and is not there before the first offer.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory: torch.Tensor | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights")
        self._receiving: Future[torch.Tensor] | None = None

    def begin(self, offer: Offer, rank: int, host: str, layout: Sequence[TensorSlot], digest: str) -> None:
        """Join the broadcast as ``rank``; see :meth:`outcome`. A broadcast that was given up before may still write to its own memory."""
        memory, self._memory = self._memory, None
        self._receiving = self._thread.submit(self._receive, memory, offer, rank, host, layout, digest)

    def outcome(self) -> str | None:
        """None while it is under way, "" when the version is here, else why it is not."""
        if self._receiving is None:
            return "no broadcast was begun"
        if not self._receiving.done():
            return None
        try:
            self._memory = self._receiving.result()
        except (CollectiveError, RuntimeError) as error:  # torch reports a lack of device memory as RuntimeError
            return str(error) or repr(error)
        return ""

    def tensors(self, layout: Sequence[TensorSlot]) -> Iterator[tuple[str, torch.Tensor]]:
        """``(name, tensor)`` in layout order, as views of what was received.

        Raises:
            RuntimeError: nothing was.
        """
        if self._memory is None:
            raise RuntimeError("an update was asked for that no broadcast has brought")
        return unpack(layout, self._memory)

    def close(self) -> None:
        self._memory = self._receiving = None
        self._thread.shutdown(wait=False)

    def _receive(
        self, memory: torch.Tensor | None, offer: Offer, rank: int, host: str, layout: Sequence[TensorSlot], digest: str
    ) -> torch.Tensor:
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
        starts = bucket_starts(layout)
        if memory is None or memory.numel() != starts[-1]:
            memory = torch.empty(starts[-1], dtype=torch.uint8, device=self._device)
        places = [memory[starts[slot.bucket] + slot.offset :][: slot.bytes] for slot in layout]
        digests = receive(offer, rank, host, places)
        if digests and content_digest(layout, digests) != digest:
            raise CollectiveError(f"what was published with digest {digest} arrived with another")
        return memory
