"""From raw text to what a model is given."""
