"""The upstream's own credentials: where they lie, how they are put in, and how they never come back out."""
