"""What an answer is worth: one normaliser, hardened scorers and the killable processes they run in.

Start with :class:`rewards.isolation.ScorerPool`; the contract is :class:`rewards.verdict.Verdict` over :class:`rewards.job.ScoreJob`.
Nothing here knows of Ray or torch, and RDKit is imported only by the modules that run inside the worker processes.
"""
