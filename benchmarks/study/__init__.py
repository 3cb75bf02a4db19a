"""The study: the claims of the paper, tested with Limbeck on real text. `make study`, `make study-quick`."""
