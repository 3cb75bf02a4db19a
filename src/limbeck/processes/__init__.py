"""Many processes: joining them, what they make for each other, and what happens when one ends or dies."""
