"""The native runtime: what drivers and workers of a Limelight cluster run."""
