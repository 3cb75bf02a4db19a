"""Words in context with their senses, and the model that learns which gloss fits."""
