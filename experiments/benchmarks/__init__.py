"""The ratios that the README quotes, each against a peer measured in the same run."""
