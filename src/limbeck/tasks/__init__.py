"""What a model is measured on: model in, result out."""
