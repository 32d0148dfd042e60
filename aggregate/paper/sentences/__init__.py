"""Methods in sentences: a module per topic, each sentence a function of what the run's folder says."""
