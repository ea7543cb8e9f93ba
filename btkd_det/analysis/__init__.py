"""Gathering a teacher's logits of the training data."""
