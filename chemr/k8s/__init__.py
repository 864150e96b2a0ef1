"""Kubernetes: manifests that follow from a run's configuration (``chemr k8s render``), and what is wrong with some (``check``)."""
