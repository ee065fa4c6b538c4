"""RPAccel: a multi-stage recommendation accelerator, its models, and its scheduler."""

import os

# Rankers are small: threads inside one matrix product cost more than they bring, and two jobs on
# two cores slow each other down. BLAS reads this when NumPy is imported; a user's value wins.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

__version__ = "0.1.0"
