"""What a new process would not have in memory."""

from networks import network

from sktransfer._networks.frozen import MAX_NETWORKS


def forget_networks():
    """Have other networks take the places of all that are held in memory."""
    for side in range(8, 8 + MAX_NETWORKS):
        network(weights=None, size=(side, side))
