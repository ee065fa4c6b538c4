"""RecPipe's published points, as read off its figures, and its claims.

Ref: U. Gupta et al., "RecPipe", MICRO 2021. Figures are digitised, to about 1 % of an axis; none of
these numbers goes into a model of ours.
"""

from __future__ import annotations

__all__ = [
    "FIGURE_1C", "FIGURE_5", "FIGURE_7", "FIGURE_7_QUALITY", "FIGURE_8", "FIGURE_8_NDCG",
    "FIGURE_10A", "FIGURE_12", "FIGURE_12_SPLITS", "FIGURE_13_NDCG", "FIGURE_13_SSD",
    "FIGURE_13_TAIL", "FIGURE_14", "FIGURE_14_COMMODITY", "MEMORY_AND_ITEMS",
]  # fmt: skip

Curve = dict[float, float]  # queries per second -> tail latency [ms]

# One stage, two stages: million MACs and million elements (the axes say MFLOP and MB).
FIGURE_1C = {"compute": (740.0, 98.2), "memory": (3.41, 0.852)}

# Bar -> communication, MLP, embedding, sort or filter; arbitrary units. The last bar overlaps.
FIGURE_5: dict[str, tuple[float, float, float, float]] = {
    "base": (9.66, 73.6, 19.6, 11.5),
    "O.1": (9.66 + 2.86, 2 * 8.57, 2 * 2.86, 6.07 + 2.86),
    "O.1 to O.2": (9.66 + 1.21, 2 * 8.57, 2 * 2.86, 1.21 + 0.81),
    "O.1 to O.3": (9.66 + 1.21, 2 * 8.57, 2 * 2.86, 1.21 + 0.81),
}
FIGURE_5_TOTALS = {"base": 114.4, "O.1": 44.3, "O.1 to O.2": 35.9, "O.1 to O.3": 35.9,
                   "O.1 to O.5": 31.3}  # fmt: skip

# CPU, NDCG 92.25. Three stages lie above two at every load.
FIGURE_7: dict[str, Curve] = {
    "one stage": {10: 59.6, 20: 60.7, 33: 62.5, 50: 66.6, 125: 72.0, 200: 73.2, 250: 80.2,
                  333: 85.2, 500: 222.0},
    "two stages": {33: 40.0, 50: 41.2, 100: 43.1, 167: 47.3, 200: 49.7, 333: 50.9, 500: 56.0},
    "three stages": {50: 43.7, 100: 46.8, 125: 49.9, 167: 53.0, 200: 54.4, 250: 55.1, 333: 56.1,
                     500: 83.4},
}  # fmt: skip
# NDCG -> tail at 500 queries/s [ms].
FIGURE_7_QUALITY: dict[str, Curve] = {
    "one stage": {86.7: 37.3, 91.3: 51.5, 92.2: 61.6, 92.5: 222.0},
    "two stages": {88.0: 35.3, 90.8: 46.1, 92.2: 55.2, 92.43: 56.8, 92.51: 102.9},
    "three stages": {88.0: 53.0, 90.9: 55.7, 92.5: 83.4},
}
FIGURE_8: dict[str, Curve] = {
    "CPU, two stages": {20: 40.9, 50: 41.5, 100: 46.2, 200: 49.7, 333: 51.0, 500: 62.3},
    "GPU-CPU, two stages": {50: 17.8, 67: 18.0, 83: 20.8, 100: 27.4, 125: 43.6, 167: 48.8,
                            250: 57.5, 333: 104.0},
    "GPU, one stage": {25: 6.9, 50: 8.5, 92: 9.7, 125: 14.9, 175: 15.7, 201: 116.0},
}  # fmt: skip
FIGURE_8_NDCG = {"CPU": 87.0, "GPU": 92.25}  # within 25 ms at 70 queries/s

# Ranker -> array side -> cycles, utilisation [%]; 4096 items.
FIGURE_10A: dict[str, dict[int, tuple[float, float]]] = {
    "rmsmall": {8: (5.9e5, 87), 16: (1.7e5, 78), 32: (5.4e4, 60), 64: (2.2e4, 39),
                128: (1.7e4, 12)},
    "rmmed": {8: (2.0e6, 97), 16: (5.0e5, 96), 32: (1.4e5, 87), 64: (4.4e4, 72),
              128: (3.0e4, 26)},
    "rmlarge": {8: (1.6e7, 99), 16: (3.9e6, 98), 32: (1.0e6, 98), 64: (3.0e5, 84),
                128: (9.0e4, 73)},
}  # fmt: skip

FIGURE_12: dict[str, Curve] = {
    "baseline": {200: 5.03, 250: 5.90, 333: 9.31, 400: 20.9},
    "one stage": {200: 4.02, 250: 4.72, 333: 7.43, 400: 9.36, 500: 18.3},
    "two stages": {250: 2.53, 333: 2.91, 400: 3.26, 667: 3.47, 1000: 4.46, 1333: 6.31,
                   1538: 8.06, 2000: 37.8},
    "three stages": {100: 2.11, 200: 2.19, 333: 2.83, 667: 3.74, 1000: 4.27, 1333: 4.60,
                     1538: 5.70, 2000: 8.89, 2500: 32.6},
}  # fmt: skip
FIGURE_12_SPLITS: dict[str, Curve] = {
    "8,2": {250: 3.02, 333: 3.44, 400: 3.96, 500: 4.13, 667: 4.44, 1000: 5.60, 1333: 19.3,
            1538: 35.5},
    "8,8": {250: 4.51, 333: 4.52, 400: 4.62, 500: 5.39, 667: 5.69, 1000: 6.67, 1333: 6.89,
            1538: 8.06, 2000: 56.1},
    "8,16": {250: 6.52, 333: 6.57, 400: 6.59, 1000: 7.40, 1333: 8.46, 1538: 9.35, 2000: 39.6},
}  # fmt: skip

# Share of the tables in the SSD -> DRAM miss rate [%], SSD time hidden [%].
FIGURE_13_SSD = {
    0.744: (18.1, 45.3), 0.808: (18.6, 44.1), 0.872: (21.0, 39.8), 0.904: (22.0, 38.1),
    0.936: (23.0, 36.6), 0.968: (26.5, 32.2),
}  # fmt: skip
MEMORY_AND_ITEMS = ((1, 1.0), (2, 1.5), (4, 2.0), (8, 2.5), (32, 3.0))
FIGURE_13_NDCG = (92.2, 93.7, 95.2, 96.1, 96.4)
FIGURE_13_TAIL = {
    "one stage": (3.55, 4.19, 5.50, 6.29, 8.65),
    "several stages": (3.32, 3.60, 3.82, 4.13, 4.44),
}

# Dataset -> load -> accelerator with 1, 2, 3 stages [ms]; None: the load is not met.
FIGURE_14: dict[str, dict[int, tuple[float | None, float | None, float | None]]] = {
    "Criteo": {100: (4.0, 2.5, 2.1), 500: (18.3, 3.3, 3.7), 2000: (None, 37.8, 8.9)},
    "ML-1M": {100: (1.6, 1.7, 3.5), 500: (5.4, 3.9, 8.4), 2000: (398.0, 187.0, 499.0)},
    "ML-20M": {100: (10.1, 3.0, 7.1), 500: (None, 19.8, 10.1), 2000: (None, None, 795.0)},
}
# The same for Criteo on CPU, and on GPU: one stage there, of more the first there and the rest on
# the CPU.
FIGURE_14_COMMODITY: dict[str, dict[int, tuple[float | None, float | None, float | None]]] = {
    "CPU": {100: (67.5, 43.1, 46.8), 500: (222.0, 56.0, 83.0), 2000: (None, None, None)},
    "GPU": {100: (21.8, 27.4, 34.6), 500: (None, 319.0, 438.0), 2000: (None, None, None)},
}
