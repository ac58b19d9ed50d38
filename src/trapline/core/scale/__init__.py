"""What a run over very many images takes: costs, prices, the model and its simulation (docs/scale.md)."""
