"""The accelerator in Amaranth HDL, one module per unit of the block diagram."""
