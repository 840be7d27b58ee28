"""Power loss, played offline for every moment of a real run. ``python -m tests.powerloss`` runs the long form."""
