"""What runs a frozen network, one file each."""
