"""The control plane of a run: a small gRPC service in the driver (``server``) and its ``client``. Both speak ``v1/control.proto``.

The service knows the run as a :class:`actors.control.run_status.Controllable`; what pausing or draining means is the run's own affair
(``chemr.run_control``).
"""
