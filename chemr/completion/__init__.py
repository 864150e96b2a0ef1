"""What TAB offers on the command line (docs/command-line.md). Nothing of torch, Ray, RDKit or Hydra is imported on the way."""
