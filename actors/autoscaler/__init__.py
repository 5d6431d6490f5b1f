"""Ray's `ray.autoscaler`: what programs may say to a cluster that adds machines on demand."""
