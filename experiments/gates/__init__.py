"""The learning gates and their runner."""
