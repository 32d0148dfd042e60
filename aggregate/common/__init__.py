"""What every room of stage two may use: table values, files of a run folder."""
