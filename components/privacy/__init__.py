"""The privacy budget: accounting of what was executed, the ledger that outlives a run, the statement."""
