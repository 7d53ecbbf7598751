"""The controller tower: what the fleet is, where clients go, how fast they move, and the operator's verbs."""
