"""One module per family of tasks. A scorer says what an answer is worth; its docstring is the rule."""
