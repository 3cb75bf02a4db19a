"""What the student is taught: weights of the teachers, mixtures, losses, and the step."""
