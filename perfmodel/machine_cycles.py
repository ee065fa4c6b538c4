"""Cycles between the units of a machine: funnels, grant, lanes, filters."""

from __future__ import annotations

ACCEPT_CYCLES = 1  # Funnel: IDLE to RUN
OFFER_CYCLES = 1  # Funnel: offer register
TASK_CYCLES = 2  # TaskGrant: choice, grant; to the task's first cycle
GRANT_GAP_CYCLES = 2  # TaskGrant: one task in 2 cycles; Funnel: from a choice to the next offer
HANDED_CYCLES = 1  # Gather: busy falls after the last sub-batch
COMPUTED_CYCLES = 1  # Lane: last logit to `computed`
ANSWERED_CYCLES = 2  # Lane: last score to the end of the task
ANSWER_CYCLES = 4  # Funnel: from the completion to IDLE, without the results
IDS_CYCLES = 3  # Lane: from a task's first cycle until its first id is taken from the funnel
IDS_QUEUED_CYCLES = 2  # FilterSink: from the filter's id to the lane, through the queue
