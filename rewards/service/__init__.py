"""The scorers behind gRPC: ``chemr serve-rewards`` for trainers in other processes, on other machines or in other languages.

The server side (``server``) runs scoring processes; the client side (``client``, ``trl_reward``, ``verl_reward``) needs grpcio and
protobuf only. Both speak ``v1/reward.proto``.
"""
