"""Configuration: policies/*.yaml in, one frozen Snapshot out (`model`), all files or none (`load`)."""
