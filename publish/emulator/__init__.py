"""EC2 Image Builder in memory."""
