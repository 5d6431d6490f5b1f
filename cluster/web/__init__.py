"""The head's web server: what people and programs outside the cluster may ask of it."""
