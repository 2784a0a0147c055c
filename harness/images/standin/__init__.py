"""The stand-in: base images made from Debian packages with Amazon Linux's layout, for machines that reach no registry."""
