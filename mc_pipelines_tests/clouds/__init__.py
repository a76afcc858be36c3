"""Servers on loopback that speak a cloud's own protocol; none of them is ours."""
