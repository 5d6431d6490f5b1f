"""Limelight: tasks, actors and objects over a cluster of ordinary machines."""
