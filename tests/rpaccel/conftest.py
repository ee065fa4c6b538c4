import pytest

from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.rankers import compile_job
from rpaccel.spec.accelerator import load_accelerator


@pytest.fixture(scope="session")
def job():
    return compile_job(load_inputs("synthetic"), load_accelerator("edge"))
