"""How long: cycle counts predicted in closed form, one module per RTL unit."""
