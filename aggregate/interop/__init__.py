"""Handing a store or a finished run on to other programs: AnnData, xarray, Hugging Face, BIDS, MLflow."""
