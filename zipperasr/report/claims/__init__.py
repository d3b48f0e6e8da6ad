"""The paper's twelve claims: estimates, intervals over seeds and utterances, verdicts."""
