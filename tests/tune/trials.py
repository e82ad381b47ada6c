"""What a trial may come to."""


def trial(r2: float, bimodal: float = 0.5, **more: float) -> dict[str, float]:
    usual = {"mse": 1 - r2, "p_acc": 0.8, "delta_r1": -0.1, "always_on_energy": 0.0}
    return {"r2": r2, "bimodal_energy": bimodal, **usual, **more}
