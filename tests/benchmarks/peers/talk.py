"""The conversation that all sides of the benchmark of turns have."""

QUESTION = "What is 2 + 3?"
SYSTEM = "Be brief."
MODEL = "claude-sim"
LONGEST = 300  # tokens of an answer
OF_A_CONVERSATION = 2  # turns
