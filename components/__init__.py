"""What Lockgate exists for: private training, compression, gates and the budget, one folder a component."""
