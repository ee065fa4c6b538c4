"""Embedding lookups on a CPU: rows named by ids, summed, without a copy of the rows between."""

from __future__ import annotations

import numba

from rpaccel.golden.deeprec import Ids
from rpaccel.golden.dlrm import Float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pool_rows(tables: Float, ids: Ids, positions: int, out: Float) -> None:
    """Sum the rows that `ids` names into `out`; ids are not checked.

    tables : float32[tables, rows, dim]    ids : int32[n, vectors, lookups]
    positions : int  Vectors per table.    out : float32[n, vectors, dim]
    Same sums as golden.deeprec.pooled within float32 rounding: eight rows are added at a time, so
    that eight are on their way from memory at once.
    """
    items, vectors, lookups = ids.shape
    dim = tables.shape[2]
    for item in range(items):
        for vector in range(vectors):
            table = tables[vector // positions]
            rows = ids[item, vector]
            total = out[item, vector]
            total[:] = 0
            done = 0
            while done + 8 <= lookups:
                r0, r1 = table[rows[done]], table[rows[done + 1]]
                r2, r3 = table[rows[done + 2]], table[rows[done + 3]]
                r4, r5 = table[rows[done + 4]], table[rows[done + 5]]
                r6, r7 = table[rows[done + 6]], table[rows[done + 7]]
                for i in range(dim):
                    low = (r0[i] + r1[i]) + (r2[i] + r3[i])
                    total[i] += low + ((r4[i] + r5[i]) + (r6[i] + r7[i]))
                done += 8
            while done < lookups:
                row = table[rows[done]]
                for i in range(dim):
                    total[i] += row[i]
                done += 1
