"""Mutations: each breaks one setting of a hardened machine, and the suites must tell that rule and no other."""
