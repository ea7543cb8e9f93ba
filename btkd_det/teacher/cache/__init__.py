"""A teacher's logits of the training data in a file: format, data, and the model that reads it."""
