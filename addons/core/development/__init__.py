"""Development mode: an issuer and an example service of our own, on loopback, for the tour and for tests. Never for real people."""
