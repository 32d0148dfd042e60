"""Laws that every backbone keeps, ours and a stranger's, to be run from anybody's tests."""
