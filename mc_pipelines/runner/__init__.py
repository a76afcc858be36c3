"""Placement, queue, dispatcher and drivers: how an execution gets to a machine."""
