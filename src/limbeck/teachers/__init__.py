"""Frozen masked language models and what they say of a text."""
