"""By what a head could win without seeing a disease: the site, the confounds, copies of one image."""
