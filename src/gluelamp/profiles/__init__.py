"""Many users over one backbone: their stored values, and passes with the values of several users."""
