"""What runs a study and what makes tables of it."""
