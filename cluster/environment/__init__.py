"""Interpreters for workers: environments that pip, uv or conda fill, kept on the machine, and commands of users."""
