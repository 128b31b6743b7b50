"""The real parts that athd is built, tested and shown with.

Each part (envoy, redis, chromium) is a module that can look for a fitting one on the
system and can fetch one below the checkout; shelf keeps what was found, and run, debian
and wheel are the ways to get things. Standard library only: a bare Python 3 must do.
"""
