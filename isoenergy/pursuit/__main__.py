"""`python -m isoenergy.pursuit`: which form of the pursuit would run for a shape, and why."""

from typing import Literal

import tyro

from isoenergy.pursuit.plan import plan_pursuit


def main(
    batch: int = 1024, dim: int = 512, atoms: int = 4096, k: int = 20, device: Literal["cpu", "cuda"] = "cpu"
) -> None:
    """Print the cost model's reasoning for one shape.

    Args:
        batch: Rows encoded at once.
        dim: Width of the embeddings.
        atoms: Size of the dictionary.
        k: Rounds of Matching Pursuit.
        device: Where it would run; cuda is planned for whether one is here or not.
    """
    print(plan_pursuit(batch, dim, atoms, k, device))


if __name__ == "__main__":
    tyro.cli(main)
