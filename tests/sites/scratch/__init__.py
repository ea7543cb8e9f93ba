"""What a package of somebody else's would hold."""
