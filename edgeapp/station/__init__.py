"""The station's memory: the evidence ledger, its pictures, its statistics, and what the next training learns from it."""
