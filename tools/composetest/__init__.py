"""What tools/testcompose is made of.

    engine    a container engine with compose: the machine's own, or one from packages
    standins  base images made from packages, where no image registry can be reached
    steps     what is tried, and what must come of it
    told      each step with its time
"""
