"""The proof: clients of our own, a checker that folds what they saw, and a verdict."""
