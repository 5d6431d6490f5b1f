"""When the cluster gets more machines and when it gives some back: `machine.py` decides, `loop.py` carries it out."""
