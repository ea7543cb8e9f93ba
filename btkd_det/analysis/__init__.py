"""Looking at models and data: generated data, pictures, reports."""
