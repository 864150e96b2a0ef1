"""chemr's transport inside vLLM's processes: weights come through a layerwise reload, out of a file in shared memory or out of what a
:class:`actors.weight_receiver.WeightReceiver` has received.

A plain ``load_weights`` on a live engine half-updates it (on the CPU the packed weights are gone), so every update goes through
``initialize_layerwise_reload`` … ``finalize_layerwise_reload``, exactly as vLLM's own transports do. An update that fails half-way leaves
the engine useless: the actor then reports :class:`actors.generator.EngineFailedError` and is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from actors.weight_file import RECEIVED, MappedFile, WeightFile
from actors.weight_receiver import WeightReceiver

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.config.weight_transfer import WeightTransferConfig

BACKEND = "store"


@dataclass
class StoreInitInfo(WeightTransferInitInfo):
    """Nothing to agree on beforehand: every update names its file."""


@dataclass
class StoreUpdateInfo(WeightTransferUpdateInfo):
    """The fields of :meth:`actors.weight_file.WeightFile.to_message`."""

    path: str
    inode: int
    layout: list[list[Any]]


class StoreWeightTransferEngine(WeightTransferEngine[StoreInitInfo, StoreUpdateInfo]):
    """One per vLLM worker process. With tensor parallelism all of them map the same file and copy their own shards."""

    init_info_cls = StoreInitInfo
    update_info_cls = StoreUpdateInfo

    def __init__(self, config: WeightTransferConfig, vllm_config: VllmConfig, device: torch.device, model: torch.nn.Module) -> None:
        super().__init__(config, vllm_config, device, model)
        self._mapped = MappedFile()
        self.receiver = WeightReceiver(device)

    def init_transfer_engine(self, init_info: StoreInitInfo) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: StoreUpdateInfo) -> None:
        """Loads all tensors; when ``finish_weight_update`` returns, all are copied and file or memory may be written again."""
        file = WeightFile.from_message(update_info.path, update_info.inode, update_info.layout)
        received = update_info.path == RECEIVED
        self.model.load_weights(self.receiver.tensors(file.layout) if received else file.tensors(self._mapped.read(file)))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if getattr(self.model_config.hf_config, "tie_word_embeddings", False):
            _tie_head(self.model)

    def shutdown(self) -> None:
        self._mapped.close()
        self.receiver.close()


def _tie_head(model: Any) -> None:
    """A layerwise reload gives every layer tensors of its own, so a head that shared the embeddings' tensor keeps the old weights (and on
    the CPU an old packed copy of them). Share it again and pack it again."""
    head = model.lm_head
    head.tie_weights(model.model.embed_tokens)
    head.quant_method.process_weights_after_loading(head)


if BACKEND not in WeightTransferEngineFactory._registry:  # register_engine refuses a second time
    WeightTransferEngineFactory.register_engine(BACKEND, StoreWeightTransferEngine)
