"""What is built: frozen, validated configurations, binary layouts, and the register map."""
