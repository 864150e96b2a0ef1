"""What a run will need, take and cost, before it is paid for: memory, throughput, control rules, split of the GPUs (docs/planning.md)."""
