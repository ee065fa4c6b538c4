"""RPAccel: a multi-stage recommendation accelerator, its models, and its scheduler."""

__version__ = "0.1.0"
