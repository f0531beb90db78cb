"""Workers that may die: jobs in processes of this machine, or in Ray actors on one or many."""
