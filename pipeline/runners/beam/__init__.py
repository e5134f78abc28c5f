"""Where the Beam nodes run: flags of Beam by kind of node."""
