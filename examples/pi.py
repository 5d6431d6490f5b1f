"""Monte Carlo estimate of pi: tasks that each throw darts with a seed of their own, added up as they finish."""

import random

import limelight as ll

TASKS = 16
DARTS = 200_000


@ll.task
def hits(darts: int, seed: int) -> int:
    """How many of the darts thrown at the unit square land in the quarter circle."""
    throw = random.Random(seed).random
    return sum(throw() ** 2 + throw() ** 2 <= 1 for _ in range(darts))


if __name__ == "__main__":
    running = [hits.remote(DARTS, seed) for seed in range(TASKS)]
    inside = thrown = 0
    while running:
        finished, running = ll.wait(running)
        inside += sum(ll.get(finished))
        thrown += DARTS * len(finished)
        print(f"{thrown:>9,} darts: pi is about {4 * inside / thrown:.4f}")
