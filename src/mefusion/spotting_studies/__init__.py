"""Spotting studies: all recordings of a dataset spotted, recognised if wanted, and scored.

study = plan_study(source, settings, ...)    names the study; what its recordings are, and how each is spotted
outcomes = run_study(study, ...)             several recordings at once; what is done is kept
result = finish_study(study, outcomes)       tables and scores of the whole
"""
