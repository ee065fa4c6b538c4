"""Cycles between the units of a machine: funnels, grant, lanes, filters."""

from __future__ import annotations

ACCEPT_CYCLES = 1  # Funnel: IDLE to RUN
OFFER_CYCLES = 1  # Funnel: offer register
TASK_CYCLES = 2  # TaskGrant: choice, grant; to the task's first cycle
GRANT_GAP_CYCLES = 2  # TaskGrant: one task in 2 cycles; Funnel: from a choice to the next offer
HANDED_CYCLES = 1  # Gather: busy falls after the last sub-batch
COMPUTED_CYCLES = 2  # Lane: last logit to `computed`
ANSWERED_CYCLES = 2  # Lane: last score to the end of the task
RELEASE_CYCLES = 2  # BucketFilter: idle to the next release
ANSWER_CYCLES = 4  # Funnel: from the completion to IDLE, without the results
