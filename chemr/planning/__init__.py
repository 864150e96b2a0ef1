"""What a run will need, take and cost, before it is paid for: memory, throughput, the control rules, the split of the GPUs (docs/planning.md)."""
