"""``chemr chat``: ask a model one question after another and see which of its claims are true."""
