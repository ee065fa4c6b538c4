"""The main job: from a click log to ranked items, through the generated netlist."""
