"""Protocol mining: from a teacher's traces to protocols, and from protocols to verified traces to train on (docs/mining.md)."""
