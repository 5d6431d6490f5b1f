"""The version of Limelight: what two processes tell each other, and what `limelight.__version__` says."""

VERSION = "0.1.0"
