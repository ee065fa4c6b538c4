import multiprocessing
import shutil

import numpy as np
import pytest

from rpaccel.scheduler.deeprec_models import DeeprecModel, require_runtime
from rpaccel.scheduler.deeprec_tables import open_tables
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

SCALE = 1e-4
WORKER_SCALE = 0.08  # 328 MB


def anonymous_kib(path, queue):
    """Run a model on mapped tables in a child; report what the child then holds of its own."""
    require_runtime()
    config = load_deeprec("dlrm-rmc1")
    before = private_kib()
    tables = open_tables(config, path, scale_rows=WORKER_SCALE)
    tables.touch()
    model = DeeprecModel(config, random_weights(config, 0), tables.groups)
    model.run(random_inputs(config, 64, np.random.default_rng(0), WORKER_SCALE))
    queue.put((private_kib() - before, tables.bytes // 1024, tables.created))


def private_kib():
    lines = open("/proc/self/status").read().splitlines()  # noqa: SIM115
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def test_created_once(tmp_path):
    config = load_deeprec("ncf")
    first = open_tables(config, tmp_path, scale_rows=SCALE)
    again = open_tables(config, tmp_path, scale_rows=SCALE)
    assert (first.created, again.created) == (True, False)
    assert {name: group.shape for name, group in first.groups.items()} == {
        "mf": (2, 14, 64), "mlp": (2, 3, 64)
    }  # fmt: skip
    assert all(np.array_equal(first.groups[n], again.groups[n]) for n in first.groups)
    assert first.bytes == first.path.stat().st_size
    values = np.concatenate([group.ravel() for group in first.groups.values()])
    assert 0.9 / 8 < np.abs(values).max() <= 1 / 8
    assert len(np.unique(values)) > 0.9 * values.size


def test_one_model_at_a_time(tmp_path):
    kept = open_tables(load_deeprec("ncf"), tmp_path, scale_rows=SCALE)
    other = open_tables(load_deeprec("wnd"), tmp_path, scale_rows=SCALE)
    assert [path.name for path in tmp_path.iterdir()] == [other.path.name]
    assert np.isfinite(kept.groups["mf"]).all()  # what is mapped stays mapped


def test_seeds_and_scales_differ(tmp_path):
    config = load_deeprec("ncf")
    paths = {
        open_tables(config, tmp_path, scale_rows=scale, seed=seed).path.name
        for scale, seed in ((SCALE, 0), (SCALE, 1), (2 * SCALE, 0))
    }
    assert len(paths) == 3


def test_read_only(tmp_path):
    tables = open_tables(load_deeprec("ncf"), tmp_path, scale_rows=SCALE)
    with pytest.raises(ValueError, match="read-only"):
        tables.groups["mf"][0, 0, 0] = 1


def test_says_which_scale_fits(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_048_000_000))
    with pytest.raises(ValueError, match=r"need 4\.10 GB, 2\.05 GB are free .* 0\.45 fits"):
        open_tables(load_deeprec("dlrm-rmc1"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_touches_every_page(tmp_path):
    tables = open_tables(load_deeprec("ncf"), tmp_path, scale_rows=SCALE)
    mf, mlp = (tables.groups[name].ravel() for name in ("mf", "mlp"))
    assert mf.size == 1792
    assert tables.touch() == pytest.approx(float(mf[0]) + float(mf[1024]) + float(mlp[0]))


def test_a_damaged_file_is_written_again(tmp_path):
    config = load_deeprec("ncf")
    path = open_tables(config, tmp_path, scale_rows=SCALE).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert open_tables(config, tmp_path, scale_rows=SCALE).created
    assert path.read_bytes() == whole


def test_workers_share_the_tables(tmp_path):
    open_tables(load_deeprec("dlrm-rmc1"), tmp_path, scale_rows=WORKER_SCALE)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for _ in range(2):
        child = context.Process(target=anonymous_kib, args=(tmp_path, queue))
        child.start()
        private, shared, created = queue.get(timeout=120)
        child.join()
        assert not created
        assert shared == 320_000
        assert private < shared / 6
