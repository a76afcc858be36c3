"""The sandbox of the local driver: bubblewrap where it is installed, else what the kernel offers.

``spec`` says what is wanted, ``launcher`` runs inside the child before the command, ``linux`` holds the
system calls, ``commands`` chooses the mechanism, ``process`` runs it and reads what the probes saw.
"""
