"""A parameter server: one actor holds a model's weights, workers fit it on data of their own, at their own pace."""

import numpy as np

import limelight as ll

TRUE_WEIGHTS = np.array([2.0, -3.0, 0.5])
WORKERS = 3
STEPS = 40


@ll.actor
class ParameterServer:
    """Holds the weights; calls of one actor run one after the other, so no lock is needed."""

    def __init__(self, size: int, learning_rate: float) -> None:
        self.weights = np.zeros(size)
        self.learning_rate = learning_rate
        self.updates = 0

    def descend(self, gradient: np.ndarray) -> np.ndarray:
        """Take one step down the gradient; returns the weights after it."""
        self.weights = self.weights - self.learning_rate * gradient
        self.updates += 1
        return self.weights

    def state(self) -> tuple[np.ndarray, int]:
        """The weights, and how many steps made them."""
        return self.weights, self.updates


@ll.task
def fit(server: "ll.ActorHandle", seed: int) -> float:
    """Send gradients of the squared error on 200 samples; returns the error at the end."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(200, len(TRUE_WEIGHTS)))
    targets = inputs @ TRUE_WEIGHTS + generator.normal(scale=0.01, size=200)
    weights, _ = ll.get(server.state.remote())
    for _ in range(STEPS):
        residuals = inputs @ weights - targets
        weights = ll.get(server.descend.remote(2 * inputs.T @ residuals / len(targets)))
    return float(np.mean((inputs @ weights - targets) ** 2))


if __name__ == "__main__":
    server = ParameterServer.remote(len(TRUE_WEIGHTS), learning_rate=0.1)
    errors = ll.get([fit.remote(server, seed) for seed in range(WORKERS)])
    weights, updates = ll.get(server.state.remote())
    print(f"{updates} updates by {WORKERS} workers")
    print("weights:", np.round(weights, 1))
    print("largest error:", "below 0.01" if max(errors) < 0.01 else max(errors))
