import pytest

from rpaccel.perfmodel.validate import completion_fields, error_table
from tests.perfmodel.test_lane import query


def test_exact_prediction_has_no_error():
    report = query()
    table = error_table([report] * 3, [report.completion()] * 3)
    assert table.passed
    assert table.worst_total == 0
    assert [row.field for row in table.rows] == completion_fields(2)
    assert "within 5 %" in table.to_text()


def test_errors_by_hand():
    report = query()
    total = report.total_cycles
    measured = [report.completion() | {"total_cycles": round(total / f)} for f in (1.1, 1.0, 0.98)]
    row = error_table([report] * 3, measured).rows[0]
    assert row.worst == pytest.approx(0.1, abs=1e-4)
    assert row.mean == pytest.approx(0.08 / 3, abs=1e-4)
    assert row.median_abs == pytest.approx(0.02, abs=1e-4)
    assert not error_table([report], [report.completion() | {"total_cycles": total // 2}]).passed


def test_rejects():
    with pytest.raises(ValueError, match=r"^predictions and completions must be as many"):
        error_table([], [])
    with pytest.raises(ValueError, match=r"^completions must have status 0, not 4"):
        error_table([query()], [{"status": 4}])
