"""Fine-tuning: any encoder learns the labels of whole texts; the result is a plain classifier."""
