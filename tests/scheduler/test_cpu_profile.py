import time

import numpy as np
import pytest

from rpaccel.scheduler.cpu_profile import (
    fit_profile,
    load_profile,
    machine_description,
    measure_profile,
)


def test_fit_recovers_a_line():
    times = {n: [1e-3 + 2e-6 * n] * 3 for n in (10, 100, 1000)}
    fit = fit_profile(times)
    assert fit.fixed_s == pytest.approx(1e-3)
    assert fit.per_item_s == pytest.approx(2e-6)
    assert fit.worst_fit_error < 1e-9
    assert np.allclose(fit.ratios, 1.0)
    assert fit.seconds(500) == pytest.approx(2e-3)


def test_fit_never_goes_below_zero():
    assert fit_profile({10: [1e-3], 100: [20e-3]}).fixed_s == 0
    assert fit_profile({10: [2e-3], 100: [1e-3]}).per_item_s == 0


def test_ratios_keep_the_spread():
    fit = fit_profile({100: [1e-3] * 9 + [3e-3]})
    assert max(fit.ratios) > 2
    assert np.median(fit.ratios) == pytest.approx(1.0)


def test_profile_round_trips(tmp_path):
    measured = measure_profile(
        {"sleepy": lambda items: time.sleep(items * 1e-5)}, "test", (10, 100), repeats=3
    )
    path = tmp_path / "cpu.json"
    path.write_text(measured.to_text())
    again = load_profile(path)
    assert again == measured
    assert again.digest == measured.digest
    assert again.model("sleepy").points[0].repeats == 3
    with pytest.raises(ValueError, match=r"^model must be one of sleepy, not 'large'"):
        again.model("large")


def test_machine_names_no_host():
    machine = machine_description()
    assert set(machine) == {"cpu", "cores", "blas", "blas_threads", "numpy", "python", "system"}
    assert not any("/" in value for key, value in machine.items() if key != "cpu")


def test_wrong_version(tmp_path):
    measured = measure_profile({"a": lambda items: None}, "test", (1,), repeats=1)
    path = tmp_path / "cpu.json"
    path.write_text(measured.model_copy(update={"version": 9}).to_text())
    with pytest.raises(ValueError, match=r"^cpu\.json: version must be 1, not 9"):
        load_profile(path)
