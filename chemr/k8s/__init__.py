"""Kubernetes: manifests that follow from a run's configuration (``chemr k8s render``), and what is wrong with manifests (``chemr k8s check``)."""
