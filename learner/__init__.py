"""How a batch of documents changes a policy's weights: packing, losses, DeepSpeed. Knows nothing of Ray, rewards or chemistry."""
